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

(require 'threadrunner-ghost)

(defvar threadrunner-mode)

(defun threadrunner--each-buffer (act)
  "Call ACT in each buffer with the mode."
  (dolist (buffer (buffer-list))
    (when (buffer-local-value 'threadrunner-mode buffer)
      (with-current-buffer buffer (funcall act)))))

(defun threadrunner--up ()
  "The server answers: it is told of all buffers, and asked for the one in view."
  (threadrunner--each-buffer #'threadrunner--sync)
  (with-current-buffer (window-buffer (selected-window))
    (when threadrunner-mode (threadrunner--request nil))))

(defun threadrunner--down ()
  "The server has ended, and with it what it suggested."
  (threadrunner--each-buffer #'threadrunner--hide))

(add-hook 'threadrunner--up-hook #'threadrunner--up)
(add-hook 'threadrunner--down-hook #'threadrunner--down)

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

(provide 'threadrunner)
;;; threadrunner.el ends here
