;;; emacs.el --- what Emacs makes of documents when it runs their blocks  -*- lexical-binding: t -*-

;; emacs -Q --batch -l emacs.el -f run-documents FILE...   the source blocks
;; emacs -Q --batch -l emacs.el -f run-buffers FILE...     calls and code within text, too
;;
;; Runs the source blocks of each document, first to last, in the document's directory, and saves it. Prints a JSON
;; object: the version of Org, and for each document the blocks, numbered from 0, that ended in an error of Emacs.

(setq enable-local-variables nil
      vc-handled-backends nil
      make-backup-files nil
      create-lockfiles nil
      auto-save-default nil
      select-safe-coding-system-function nil
      org-element-cache-persistent nil
      org-confirm-babel-evaluate nil
      org-babel-python-command "python3")

(require 'org)
(require 'ob)
(require 'cl-lib)

(org-babel-do-load-languages
 'org-babel-load-languages
 '((emacs-lisp . t) (shell . t) (python . t) (perl . t) (ruby . t) (js . t) (awk . t) (lua . t) (sqlite . t) (R . t) (C . t)
   (sed . t)))

;; Only the blocks that were there: what they insert may look like one.
(defun run-document (file)
  (let ((coding-system-for-read 'utf-8-unix) (coding-system-for-write 'utf-8-unix) blocks errors)
    (with-current-buffer (find-file-noselect file)
      (org-babel-map-src-blocks nil (push (copy-marker beg-block) blocks))
      (cl-loop for block in (nreverse blocks) for number from 0
               do (goto-char block)
               (condition-case wrong (org-babel-execute-src-block)
                 (error (push number errors)
                        (message "%s: block %d: %s" file number (error-message-string wrong)))))
      (save-buffer)
      (kill-buffer))
    (vconcat (nreverse errors))))

;; All that runs, as a person would have it run.
(defun run-buffer (file)
  (let ((coding-system-for-read 'utf-8-unix) (coding-system-for-write 'utf-8-unix))
    (with-current-buffer (find-file-noselect file)
      (prog1 (condition-case wrong (progn (org-babel-execute-buffer) [])
               (error (princ (format "%s: %s\n" file (error-message-string wrong)) #'external-debugging-output) [0]))
        (save-buffer)
        (kill-buffer)))))

(defun run-each (run)
  (let* ((inhibit-message t)
         (errors (vconcat (mapcar run command-line-args-left))))
    (setq command-line-args-left nil)
    (princ (json-serialize (list :org (org-version) :errors errors)))
    (terpri)))

(defun run-documents () (run-each #'run-document))
(defun run-buffers () (run-each #'run-buffer))

;;; emacs.el ends here
