;;; threadrunner-server.el --- The process of threadrunner.el, and its life  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Code:

(require 'jsonrpc)
(require 'subr-x)
(require 'url-util)

(defgroup threadrunner nil "Code completion by a local model." :group 'tools)

(defcustom threadrunner-command '("threadrunner" "lsp")
  "How the language server is started." :type '(repeat string))

(defcustom threadrunner-settings nil
  "Settings of the server as a plist, say (:trigger \"manual\" :maxTokens 64).
The file docs/editors.md has the table." :type 'plist)

(defvar threadrunner--connection nil "The server, once it has answered `initialize'.")
(defvar threadrunner--starting nil "The server until then.")
(defvar threadrunner--started 0 "When it was started, in seconds.")
(defvar threadrunner--deaths 0 "How often it ended, one time after the other.")
(defvar threadrunner--not-before 0 "No start before this time.")
(defvar threadrunner--up-hook nil "Run when the server has answered `initialize'.")
(defvar threadrunner--down-hook nil "Run when the server has ended.")

(defun threadrunner--live ()
  (and threadrunner--connection (jsonrpc-running-p threadrunner--connection) threadrunner--connection))

(defun threadrunner--connect ()
  "The connection to the server; nil while there is none.
It is then started, unless it is too early for that."
  (or (threadrunner--live)
      (prog1 nil
        (unless (or threadrunner--starting (< (float-time) threadrunner--not-before))
          (if (executable-find (car threadrunner-command))
              (threadrunner--start)
            (threadrunner--missing (car threadrunner-command)))))))

(defvar threadrunner--told-of nil "The program that the user was told is not there.")

(defun threadrunner--missing (program)
  "Tell the user once that there is no PROGRAM."
  (unless (equal program threadrunner--told-of)
    (setq threadrunner--told-of program)
    (message "ThreadRunner: there is no program `%s'; say (setq threadrunner-command (list \"/path/to/threadrunner\" \"lsp\"))"
             program)))

(defun threadrunner--start ()
  "Start the server.
Nothing waits for it: `threadrunner--up-hook' is run when it answers."
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
                       (run-hooks 'threadrunner--up-hook))
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
    (run-hooks 'threadrunner--down-hook)))

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

(defun threadrunner--root ()
  (let ((root (locate-dominating-file default-directory ".git")))
    (and root (threadrunner--file-uri (directory-file-name (expand-file-name root))))))

(defun threadrunner--file-uri (file)
  (concat "file://" (url-hexify-string (if (file-remote-p file) file (file-truename file))
                                       (cons ?/ url-unreserved-chars))))

(defun threadrunner--notified (_connection method params)
  (when (eq method 'window/showMessage)
    (message "%s" (plist-get params :message))))

(provide 'threadrunner-server)
;;; threadrunner-server.el ends here
