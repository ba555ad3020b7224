;;; threadrunner-eglot.el --- ThreadRunner in eglot's completion menu  -*- lexical-binding: t; -*-

;; For those who want suggestions among eglot's candidates instead of as ghost
;; text.  eglot has room for one server a buffer: in a mode that has one
;; already, use threadrunner.el.

;;; Code:

(require 'eglot)

(defvar threadrunner-eglot-modes '(text-mode conf-mode sh-mode)
  "Modes whose server ThreadRunner is to be.")

(add-to-list 'eglot-server-programs (cons threadrunner-eglot-modes '("threadrunner" "lsp")))

(provide 'threadrunner-eglot)
;;; threadrunner-eglot.el ends here
