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

(defvar threadrunner-mode)
(defvar threadrunner--connection nil "The server, once it has answered `initialize'.")
(defvar threadrunner--starting nil "The server until then.")
(defvar threadrunner--started 0 "When it was started, in seconds.")
(defvar threadrunner--deaths 0 "How often it ended, one time after the other.")
(defvar threadrunner--not-before 0 "No start before this time.")
(defvar-local threadrunner--document nil
  "What the server has of this buffer, or nil: a list of
CONNECTION URI NAME LANGUAGE BUFFER.  In a clone, BUFFER is another one.")
(defvar threadrunner--version 0 "Of all documents, so that it grows in each.")
(defvar-local threadrunner--changes nil
  "Changes that the server has not been told of, newest first; t for all text.")
(defvar-local threadrunner--before nil
  "The change under way: START END as LSP positions, BEGIN LENGTH as Emacs's.")
(defvar-local threadrunner--tick nil "`buffer-chars-modified-tick' after the last change that we were told of.")
(defvar-local threadrunner--asked 0 "Counts requests; only the newest one's answer is shown.")
(defvar-local threadrunner--overlay nil)
(defvar-local threadrunner--item nil)
(defvar-local threadrunner--rest nil "What of the suggestion is still to come; non-nil while it is shown.")

;;; The server

(defun threadrunner--live ()
  (and threadrunner--connection (jsonrpc-running-p threadrunner--connection) threadrunner--connection))

(defun threadrunner--connect ()
  "The connection to the server; nil while there is none.
It is then started, unless it is too early for that."
  (or (threadrunner--live)
      (prog1 nil
        (unless (or threadrunner--starting (< (float-time) threadrunner--not-before))
          (threadrunner--start)))))

(defun threadrunner--start ()
  "Start the server.  Nothing waits for it: it opens all buffers when it answers."
  (setq threadrunner--started (float-time))
  (condition-case problem
      (let ((connection
             (jsonrpc-process-connection
              :name "threadrunner"
              :events-buffer-scrollback-size 0
              :notification-dispatcher #'threadrunner--notified
              :request-dispatcher (lambda (&rest _) nil)
              :on-shutdown #'threadrunner--ended
              :process (lambda ()
                         (make-process :name "threadrunner" :command threadrunner-command :connection-type 'pipe
                                       :coding 'utf-8-emacs-unix :noquery t
                                       :stderr (get-buffer-create " *threadrunner stderr*"))))))
        (setq threadrunner--starting connection)
        (jsonrpc-async-request
         connection :initialize (threadrunner--introduction)
         :timeout 60
         :success-fn (lambda (_)
                       (jsonrpc-notify connection :initialized (make-hash-table))
                       (setq threadrunner--connection connection threadrunner--starting nil)
                       (threadrunner--each-buffer #'threadrunner--sync)
                       (with-current-buffer (window-buffer (selected-window))
                         (when threadrunner-mode (threadrunner--request nil))))
         :error-fn (lambda (_) (when (jsonrpc-running-p connection) (jsonrpc-shutdown connection)))
         :timeout-fn (lambda () (jsonrpc-shutdown connection))))
    (error (threadrunner--ended nil (error-message-string problem)))))

(defun threadrunner--introduction ()
  (let ((root (threadrunner--root)))
    `(:processId ,(emacs-pid)
      :clientInfo (:name "threadrunner.el" :version "0.1.0")
      :rootUri ,root
      :workspaceFolders ,(and root (vector `(:uri ,root :name "root")))
      :initializationOptions ,(or threadrunner-settings (make-hash-table))
      ;; Columns in characters, which is what Emacs counts in.
      :capabilities (:general (:positionEncodings ["utf-32"])
                     :textDocument (:inlineCompletion ,(make-hash-table))))))

(defun threadrunner--ended (_connection &optional problem)
  "The server has ended: the next key starts it again.
If it goes on ending, the next key after 1 second, 2, 4, … 60."
  (unless (eq threadrunner--not-before 'never)
    (setq threadrunner--deaths (if (> (- (float-time) threadrunner--started) 60) 1 (1+ threadrunner--deaths))
          threadrunner--connection nil
          threadrunner--starting nil)
    (let ((pause (if (= threadrunner--deaths 1) 0 (min 60 (expt 2 (- (min threadrunner--deaths 10) 2))))))
      (setq threadrunner--not-before (+ (float-time) pause))
      (message "ThreadRunner: the server ended%s; it is started again after %d s"
               (if problem (concat " (" problem ")") "") pause))
    (threadrunner--each-buffer #'threadrunner--hide)))

(defun threadrunner--each-buffer (act)
  "Call ACT in each buffer with the mode."
  (dolist (buffer (buffer-list))
    (when (buffer-local-value 'threadrunner-mode buffer)
      (with-current-buffer buffer (funcall act)))))

(defun threadrunner--root ()
  (let ((root (locate-dominating-file default-directory ".git")))
    (and root (threadrunner--file-uri (directory-file-name (expand-file-name root))))))

(defun threadrunner--file-uri (file)
  (concat "file://" (url-hexify-string (if (file-remote-p file) file (file-truename file))
                                       (cons ?/ url-unreserved-chars))))

(defun threadrunner--name ()
  (or buffer-file-name (buffer-name)))

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
      (let ((inhibit-field-text-motion t))
        (list :line (1- (line-number-at-pos nil t)) :character (- (point) (line-beginning-position)))))))

(defun threadrunner--point (position)
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (let ((inhibit-field-text-motion t))
        (min (line-end-position) (+ (point) (plist-get position :character)))))))

(defun threadrunner--text (begin end)
  "The text between BEGIN and END.
Bytes that are no text are as many characters in it, or no JSON could hold them."
  (save-restriction
    (widen)
    (replace-regexp-in-string "[^\0-\x10ffff]" "\xfffd" (buffer-substring-no-properties begin end) t t)))

(defun threadrunner--language ()
  (let ((name (string-remove-suffix "-mode" (string-remove-suffix "-ts-mode" (symbol-name major-mode)))))
    (pcase name ("js" "javascript") ("sh" "shellscript") ("c++" "cpp") (_ name))))

(defun threadrunner--open (connection)
  "Tell the server of this buffer."
  (setq threadrunner--document (list connection (threadrunner--uri) (threadrunner--name) (threadrunner--language)
                                    (current-buffer)))
  (threadrunner--known)
  (jsonrpc-notify
   connection :textDocument/didOpen
   `(:textDocument (:uri ,(nth 1 threadrunner--document) :languageId ,(nth 3 threadrunner--document)
                    :version ,(cl-incf threadrunner--version)
                    :text ,(threadrunner--text 1 (1+ (buffer-size)))))))

(defun threadrunner--close ()
  (when (and threadrunner--document (eq (car threadrunner--document) (threadrunner--live))
             (eq (nth 4 threadrunner--document) (current-buffer)))
    (jsonrpc-notify threadrunner--connection :textDocument/didClose
                    `(:textDocument (:uri ,(nth 1 threadrunner--document)))))
  (setq threadrunner--document nil))

(defun threadrunner--known ()
  "What the text is now is known to the server, or to `threadrunner--changes'."
  (setq threadrunner--tick (buffer-chars-modified-tick)))

(defun threadrunner--unseen ()
  "Whether the text was changed without our hooks.
That is by another hook, in an indirect buffer, or with hooks inhibited."
  (not (eql threadrunner--tick (buffer-chars-modified-tick))))

(defun threadrunner--before-change (begin end)
  (cond ((eq threadrunner--changes t))
        ((threadrunner--unseen) (setq threadrunner--changes t))
        (t (setq threadrunner--before (list (threadrunner--position begin) (threadrunner--position end)
                                            begin (- end begin))))))

(defun threadrunner--after-change (begin end length)
  "What was announced before is now what it is, whatever the command says.
The two differ where case is changed or a paragraph filled; where they do not
fit together, all the text is sent."
  (pcase-let ((`(,start ,stop ,from ,size) threadrunner--before))
    (setq threadrunner--before nil)
    (cond ((eq threadrunner--changes t))
          ((and start (<= from begin) (<= (+ begin length) (+ from size)))
           (push `(:range (:start ,start :end ,stop)
                   :text ,(threadrunner--text from (+ from size (- end begin length))))
                 threadrunner--changes))
          (t (setq threadrunner--changes t))))
  (threadrunner--known))

(defun threadrunner--sync ()
  "Make the server's text this buffer's; nil where there is no server yet."
  (let ((connection (threadrunner--connect)))
    (when connection
      (pcase-let ((`(,with ,uri ,name ,language ,buffer) threadrunner--document))
        (cond ((not (and (eq with connection) (eq buffer (current-buffer)))) (threadrunner--open connection))
              ((not (and (equal name (threadrunner--name)) (equal language (threadrunner--language))))
               (threadrunner--close)
               (threadrunner--open connection))
              ((or threadrunner--changes (threadrunner--unseen)) (threadrunner--tell connection uri)))
        (setq threadrunner--changes nil)
        connection))))

(defun threadrunner--tell (connection uri)
  "Tell the server of the changes, or of all the text if one was not seen."
  (let ((all (or (eq threadrunner--changes t) (threadrunner--unseen))))
    (jsonrpc-notify
     connection :textDocument/didChange
     `(:textDocument (:uri ,uri :version ,(cl-incf threadrunner--version))
       :contentChanges ,(if all (vector `(:text ,(threadrunner--text 1 (1+ (buffer-size)))))
                          (vconcat (nreverse threadrunner--changes)))))
    (threadrunner--known)))

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

(defun threadrunner-status ()
  "Show what the server has counted."
  (interactive)
  (message "%S" (if (threadrunner--connect)
                    (jsonrpc-request threadrunner--connection :threadrunner/status (make-hash-table))
                  "ThreadRunner: the server does not run, or not yet")))

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

(defun threadrunner--temporary-p ()
  "Whether no person edits this buffer.
Say, that in which Org colours a block of code."
  (and (not buffer-file-name) (string-prefix-p " " (buffer-name))))

;;;###autoload
(define-minor-mode threadrunner-mode
  "Suggestions behind point by a model on this machine."
  :lighter " TR"
  (cond
   ((and threadrunner-mode (threadrunner--temporary-p))
    (setq threadrunner-mode nil))
   (threadrunner-mode
    (add-to-list 'emulation-mode-map-alists 'threadrunner--maps)
    (add-hook 'before-change-functions #'threadrunner--before-change nil t)
    (add-hook 'after-change-functions #'threadrunner--after-change nil t)
    (add-hook 'post-command-hook #'threadrunner--after-command nil t)
    (add-hook 'kill-buffer-hook #'threadrunner--close nil t)
    (add-hook 'change-major-mode-hook #'threadrunner--leave nil t)
    (threadrunner--sync))
   (t
    (remove-hook 'before-change-functions #'threadrunner--before-change t)
    (remove-hook 'after-change-functions #'threadrunner--after-change t)
    (remove-hook 'post-command-hook #'threadrunner--after-command t)
    (remove-hook 'kill-buffer-hook #'threadrunner--close t)
    (remove-hook 'change-major-mode-hook #'threadrunner--leave t)
    (threadrunner--leave))))

(defun threadrunner--leave ()
  "Before the buffer's local variables are gone."
  (threadrunner--hide)
  (threadrunner--close))

(defun threadrunner-stop ()
  "Stop the server."
  (interactive)
  (let ((threadrunner--not-before 'never))
    (when (threadrunner--live)
      (ignore-errors (jsonrpc-request threadrunner--connection :shutdown nil :timeout 5))
      (jsonrpc-notify threadrunner--connection :exit nil)
      (jsonrpc-shutdown threadrunner--connection)))
  (setq threadrunner--connection nil))

(add-hook 'kill-emacs-hook #'threadrunner-stop)

(provide 'threadrunner)
;;; threadrunner.el ends here
