;;; threadrunner-ghost.el --- Suggestions of threadrunner.el: asked for, shown, taken  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Code:

(require 'cl-lib)
(require 'threadrunner-document)

(defface threadrunner-ghost '((t :inherit shadow)) "Text that is suggested." :group 'threadrunner)

(defvar-local threadrunner--asked 0 "Counts requests; only the newest one's answer is shown.")
(defvar-local threadrunner--overlay nil)
(defvar-local threadrunner--item nil)
(defvar-local threadrunner--rest nil "What of the suggestion is still to come; non-nil while it is shown.")

(defun threadrunner--hide ()
  (when threadrunner--overlay (delete-overlay threadrunner--overlay))
  (setq threadrunner--overlay nil threadrunner--rest nil))

(defun threadrunner--show (rest)
  "Show REST, the text that would follow point."
  (unless (overlayp threadrunner--overlay)
    (setq threadrunner--overlay (make-overlay (point) (point) nil t t)))
  (move-overlay threadrunner--overlay (point) (point))
  (let ((text (propertize rest 'face 'threadrunner-ghost)))
    (put-text-property 0 1 'cursor t text) ; or the cursor would stand behind it
    (overlay-put threadrunner--overlay 'after-string text))
  (setq threadrunner--rest rest))

(defun threadrunner--rest-of (item)
  "What of ITEM is to come at point; nil when what was typed disagrees with it."
  (let* ((start (threadrunner--point (plist-get (plist-get item :range) :start)))
         (text (string-replace "\r\n" "\n" (plist-get item :insertText))))
    (when (<= start (point))
      (let ((typed (buffer-substring-no-properties start (point))))
        (and (string-prefix-p typed text) (> (length text) (length typed))
             (substring text (length typed)))))))

(defun threadrunner--request (manual)
  (let ((buffer (current-buffer)) (asked (cl-incf threadrunner--asked)) (connection (threadrunner--sync)))
    ;; No cancel: a newer request of the same document ends the older one in the server.
    (when connection
      (jsonrpc-async-request
       connection :textDocument/inlineCompletion
       `(:textDocument (:uri ,(nth 1 threadrunner--document)) :position ,(threadrunner--position)
         :context (:triggerKind ,(if manual 1 2)))
       :timeout 60
       :success-fn (lambda (result)
                     (when (buffer-live-p buffer)
                       (with-current-buffer buffer
                         (when (= asked threadrunner--asked)
                           (threadrunner--answered result)))))
       :error-fn #'ignore
       :timeout-fn #'ignore))))

(defun threadrunner--answered (result)
  (let* ((items (plist-get result :items))
         (item (and (> (length items) 0) (elt items 0)))
         (rest (and item (threadrunner--rest-of item))))
    (setq threadrunner--item item)
    (if (and rest (not (threadrunner--menu-p))) (threadrunner--show rest) (threadrunner--hide))))

(defun threadrunner--menu-p ()
  "Whether a completion menu is open, whose keys the suggestion's would hide."
  (or completion-in-region-mode (bound-and-true-p company-candidates) (bound-and-true-p corfu--candidates)))

(defun threadrunner--after-command ()
  "Follow what was typed, and ask for more."
  (let ((rest (and threadrunner--rest threadrunner--item (not (threadrunner--menu-p))
                   (threadrunner--rest-of threadrunner--item))))
    (if rest (threadrunner--show rest) (threadrunner--hide)))
  (when (and (or threadrunner--changes (threadrunner--unseen))
             (not (minibufferp)) (not (threadrunner--menu-p))
             ;; In a macro, only its last key asks.
             (or (not executing-kbd-macro) (>= executing-kbd-macro-index (length executing-kbd-macro))))
    (threadrunner--request nil)))

(defun threadrunner--report (kind text)
  (let ((arguments (plist-get (plist-get threadrunner--item :command) :arguments)))
    (when (and (threadrunner--live) arguments)
      (jsonrpc-async-request
       threadrunner--connection :workspace/executeCommand
       `(:command "threadrunner.accepted" :arguments ,(vector (elt arguments 0) kind (length text)))
       :success-fn #'ignore :error-fn #'ignore :timeout-fn #'ignore))))

(defun threadrunner--take (text kind)
  (threadrunner--report (if (equal text threadrunner--rest) "accepted" kind) text)
  ;; What is left of it is shown on by `threadrunner--after-command', as after typing.
  (insert text))

(defun threadrunner-accept ()
  "Insert the suggestion."
  (interactive)
  (when threadrunner--rest (threadrunner--take threadrunner--rest "accepted")))

(defun threadrunner-accept-word ()
  "Insert the next word of the suggestion, with what stands before it."
  (interactive)
  (when threadrunner--rest
    (string-match "\\`[ \t\n]*\\(?:[[:alnum:]_]+\\|[^[:alnum:]_ \t\n]+\\)" threadrunner--rest)
    (threadrunner--take (match-string 0 threadrunner--rest) "word")))

(defun threadrunner-accept-line ()
  "Insert the suggestion up to the end of the line."
  (interactive)
  (when threadrunner--rest
    (string-match "\\`\n?[^\n]*" threadrunner--rest)
    (threadrunner--take (match-string 0 threadrunner--rest) "line")))

(defun threadrunner-dismiss ()
  "Drop the suggestion."
  (interactive)
  (threadrunner--report "dismissed" "")
  (cl-incf threadrunner--asked)
  (threadrunner--hide))

(defun threadrunner-suggest ()
  "Ask for a suggestion here."
  (interactive)
  (threadrunner--request t))

(provide 'threadrunner-ghost)
;;; threadrunner-ghost.el ends here
