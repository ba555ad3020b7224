;;; threadrunner.el --- Code completion by a model on your own machine  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1") (jsonrpc "1.0.14"))
;; Keywords: convenience, tools

;;; Commentary:

;; Ghost text from `threadrunner lsp', in an overlay behind point.  It talks to
;; the server on a connection of its own, so it goes along with eglot, lsp-mode
;; or nothing at all: eglot knows no inline completion, and has room for one
;; server a buffer.
;;
;;   (add-to-list 'load-path ".../editors/emacs")
;;   (require 'threadrunner)
;;   (add-hook 'prog-mode-hook #'threadrunner-mode)
;;
;; While a suggestion is shown: TAB takes all of it, M-<right> a word,
;; M-<down> a line, C-g none.  `threadrunner-suggest' asks for one anywhere.

;;; Code:

(require 'cl-lib)
(require 'jsonrpc)
(require 'subr-x)
(require 'url-util)

(defgroup threadrunner nil "Code completion by a local model." :group 'tools)

(defcustom threadrunner-command '("threadrunner" "lsp")
  "How the language server is started." :type '(repeat string))

(defcustom threadrunner-settings nil
  "Settings of the server as a plist, say (:trigger \"manual\" :maxTokens 64).
The file docs/editors.md has the table." :type 'plist)

(defface threadrunner-ghost '((t :inherit shadow)) "Text that is suggested.")

(defvar threadrunner--connection nil)
(defvar-local threadrunner--version 0)
(defvar-local threadrunner--changes nil "Changes that the server has not been told of, newest first.")
(defvar-local threadrunner--before nil "Start and end of the change under way, as LSP positions.")
(defvar-local threadrunner--asked 0 "Counts requests; only the newest one's answer is shown.")
(defvar-local threadrunner--overlay nil)
(defvar-local threadrunner--item nil)
(defvar-local threadrunner--rest nil "What of the suggestion is still to come; non-nil while it is shown.")

;;; The server

(defun threadrunner--live ()
  (and threadrunner--connection (jsonrpc-running-p threadrunner--connection) threadrunner--connection))

(defun threadrunner--connect ()
  "The connection to the server, which is started if need be."
  (or (threadrunner--live)
      (let ((connection
             (jsonrpc-process-connection
              :name "threadrunner"
              :events-buffer-scrollback-size 0
              :notification-dispatcher #'threadrunner--notified
              :request-dispatcher (lambda (&rest _) nil)
              :on-shutdown (lambda (_) (setq threadrunner--connection nil))
              :process (lambda ()
                         (make-process :name "threadrunner" :command threadrunner-command :connection-type 'pipe
                                       :coding 'utf-8-emacs-unix :noquery t
                                       :stderr (get-buffer-create " *threadrunner stderr*"))))))
        (jsonrpc-request
         connection :initialize
         `(:processId ,(emacs-pid)
           :clientInfo (:name "threadrunner.el" :version "0.1.0")
           :rootUri ,(threadrunner--root)
           :workspaceFolders ,(if (threadrunner--root)
                                  (vector `(:uri ,(threadrunner--root) :name "root"))
                                nil)
           :initializationOptions ,(or threadrunner-settings (make-hash-table))
           ;; Columns in characters, which is what Emacs counts in.
           :capabilities (:general (:positionEncodings ["utf-32"])
                          :textDocument (:inlineCompletion ,(make-hash-table)))))
        (jsonrpc-notify connection :initialized (make-hash-table))
        (setq threadrunner--connection connection))))

(defun threadrunner--root ()
  (let ((root (locate-dominating-file default-directory ".git")))
    (and root (threadrunner--file-uri (directory-file-name (expand-file-name root))))))

(defun threadrunner--file-uri (file)
  (concat "file://" (url-hexify-string (file-truename file) (cons ?/ url-unreserved-chars))))

(defun threadrunner--uri ()
  (if buffer-file-name (threadrunner--file-uri buffer-file-name)
    (concat "untitled:" (url-hexify-string (buffer-name)))))

(defun threadrunner--notified (_connection method params)
  (when (eq method 'window/showMessage)
    (message "%s" (plist-get params :message))))

;;; The document

(defun threadrunner--position (&optional where)
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (or where (point)))
      (list :line (1- (line-number-at-pos nil t)) :character (- (point) (line-beginning-position))))))

(defun threadrunner--point (position)
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (min (line-end-position) (+ (point) (plist-get position :character))))))

(defun threadrunner--language ()
  (let ((name (string-remove-suffix "-mode" (string-remove-suffix "-ts-mode" (symbol-name major-mode)))))
    (pcase name ("js" "javascript") ("sh" "shellscript") ("c++" "cpp") (_ name))))

(defun threadrunner--open ()
  (setq threadrunner--changes nil)
  (jsonrpc-notify
   (threadrunner--connect) :textDocument/didOpen
   `(:textDocument (:uri ,(threadrunner--uri) :languageId ,(threadrunner--language)
                    :version ,(cl-incf threadrunner--version)
                    :text ,(save-restriction (widen) (buffer-substring-no-properties (point-min) (point-max)))))))

(defun threadrunner--close ()
  (when (threadrunner--live)
    (jsonrpc-notify threadrunner--connection :textDocument/didClose `(:textDocument (:uri ,(threadrunner--uri))))))

(defun threadrunner--before-change (begin end)
  (setq threadrunner--before (cons (threadrunner--position begin) (threadrunner--position end))))

(defun threadrunner--after-change (begin end _length)
  (when threadrunner--before
    (push `(:range (:start ,(car threadrunner--before) :end ,(cdr threadrunner--before))
            :text ,(save-restriction (widen) (buffer-substring-no-properties begin end)))
          threadrunner--changes)
    (setq threadrunner--before nil)))

(defun threadrunner--sync ()
  (when threadrunner--changes
    (jsonrpc-notify
     threadrunner--connection :textDocument/didChange
     `(:textDocument (:uri ,(threadrunner--uri) :version ,(cl-incf threadrunner--version))
       :contentChanges ,(vconcat (nreverse threadrunner--changes))))
    (setq threadrunner--changes nil)))

;;; Suggestions

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
  (let ((buffer (current-buffer)) (asked (cl-incf threadrunner--asked)))
    (unless (threadrunner--live)
      (threadrunner--open))
    (threadrunner--sync)
    ;; No cancel: a newer request of the same document ends the older one in the server.
    (jsonrpc-async-request
     threadrunner--connection :textDocument/inlineCompletion
     `(:textDocument (:uri ,(threadrunner--uri)) :position ,(threadrunner--position)
       :context (:triggerKind ,(if manual 1 2)))
     :timeout 60
     :success-fn (lambda (result)
                   (when (buffer-live-p buffer)
                     (with-current-buffer buffer
                       (when (= asked threadrunner--asked)
                         (threadrunner--answered result)))))
     :error-fn #'ignore
     :timeout-fn #'ignore)))

(defun threadrunner--answered (result)
  (let* ((items (plist-get result :items))
         (item (and (> (length items) 0) (elt items 0)))
         (rest (and item (threadrunner--rest-of item))))
    (setq threadrunner--item item)
    (if rest (threadrunner--show rest) (threadrunner--hide))))

(defun threadrunner--after-command ()
  "Follow what was typed, and ask for more."
  (let ((rest (and threadrunner--rest threadrunner--item (threadrunner--rest-of threadrunner--item))))
    (if rest (threadrunner--show rest) (threadrunner--hide)))
  (when (and threadrunner--changes (not (minibufferp)))
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

(defun threadrunner-status ()
  "Show what the server has counted."
  (interactive)
  (message "%S" (jsonrpc-request (threadrunner--connect) :threadrunner/status (make-hash-table))))

(defvar threadrunner-ghost-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "TAB") #'threadrunner-accept)
    (define-key map (kbd "<tab>") #'threadrunner-accept)
    (define-key map (kbd "M-<right>") #'threadrunner-accept-word)
    (define-key map (kbd "M-<down>") #'threadrunner-accept-line)
    (define-key map (kbd "C-g") #'threadrunner-dismiss)
    map)
  "Keys while a suggestion is shown.")

(defvar threadrunner--maps `((threadrunner--rest . ,threadrunner-ghost-map)))

;;;###autoload
(define-minor-mode threadrunner-mode
  "Suggestions behind point by a model on this machine."
  :lighter " TR"
  (cond
   (threadrunner-mode
    (add-to-list 'emulation-mode-map-alists 'threadrunner--maps)
    (add-hook 'before-change-functions #'threadrunner--before-change nil t)
    (add-hook 'after-change-functions #'threadrunner--after-change nil t)
    (add-hook 'post-command-hook #'threadrunner--after-command nil t)
    (add-hook 'kill-buffer-hook #'threadrunner--close nil t)
    (threadrunner--open))
   (t
    (remove-hook 'before-change-functions #'threadrunner--before-change t)
    (remove-hook 'after-change-functions #'threadrunner--after-change t)
    (remove-hook 'post-command-hook #'threadrunner--after-command t)
    (remove-hook 'kill-buffer-hook #'threadrunner--close t)
    (threadrunner--hide)
    (threadrunner--close))))

(defun threadrunner-stop ()
  "Stop the server."
  (interactive)
  (when (threadrunner--live)
    (ignore-errors (jsonrpc-request threadrunner--connection :shutdown nil :timeout 5))
    (jsonrpc-notify threadrunner--connection :exit nil)
    (jsonrpc-shutdown threadrunner--connection)))

(add-hook 'kill-emacs-hook #'threadrunner-stop)

(provide 'threadrunner)
;;; threadrunner.el ends here
