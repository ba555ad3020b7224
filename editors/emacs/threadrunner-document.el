;;; threadrunner-document.el --- Makes the server's text the buffer's, for threadrunner.el  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Code:

(require 'cl-lib)
(require 'threadrunner-server)

(defvar-local threadrunner--document nil
  "What the server has of this buffer, or nil: a list of
CONNECTION URI NAME LANGUAGE BUFFER.  In a clone, BUFFER is another one.")
(defvar threadrunner--version 0 "Of all documents, so that it grows in each.")
(defvar-local threadrunner--changes nil
  "Changes that the server has not been told of, newest first; t for all text.")
(defvar-local threadrunner--before nil
  "The change under way: START END as LSP positions, BEGIN LENGTH as Emacs's.")
(defvar-local threadrunner--tick nil "`buffer-chars-modified-tick' after the last change that we were told of.")

(defun threadrunner--name ()
  (or buffer-file-name (buffer-name)))

(defun threadrunner--uri ()
  (if buffer-file-name (threadrunner--file-uri buffer-file-name)
    (concat "untitled:" (url-hexify-string (buffer-name)))))

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

(provide 'threadrunner-document)
;;; threadrunner-document.el ends here
