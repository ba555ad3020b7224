;;; -*- lexical-binding: t; -*-
;; The same through eglot's completion at point.

(require 'eglot)
(setq make-backup-files nil auto-save-default nil require-final-newline nil mode-require-final-newline nil
      create-lockfiles nil eglot-events-buffer-size 0 eglot-sync-connect t eglot-autoshutdown t
      eglot-connect-timeout 60 jsonrpc-default-request-timeout 60)
(set-language-environment "UTF-8")

(let* ((arguments (mapcar (lambda (each) (decode-coding-string (encode-coding-string each 'utf-8 t) 'utf-8))
                          command-line-args-left))
       (file (nth 0 arguments)) (keys (nth 3 arguments)))
  (setq command-line-args-left nil)
  (find-file file)
  (fundamental-mode)
  (switch-to-buffer (current-buffer))
  (eglot '(fundamental-mode) (cons 'transient default-directory) 'eglot-lsp-server
         (split-string (getenv "TEST_SERVER") "\t") "python")
  (goto-char (point-min))
  (forward-line (string-to-number (nth 1 arguments)))
  (goto-char (byte-to-position (+ (position-bytes (point)) (string-to-number (nth 2 arguments)))))
  (execute-kbd-macro (vconcat keys))
  (let ((completion-styles '(basic)))
    (execute-kbd-macro (kbd "C-M-i")))
  (save-buffer)
  (let ((server (eglot-current-server)))
    (ignore-errors (eglot-shutdown server nil 5)))
  (kill-emacs 0))
