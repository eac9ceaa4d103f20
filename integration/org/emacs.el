;;; emacs.el --- What Emacs makes of Org documents -*- lexical-binding: t; -*-

;; emacs -Q --batch [-L OTHER-ORG/lisp] -l emacs.el -f report-files FILE...
;;
;; Prints a JSON object a file, as `borges blocks --format json' does.  No code, no Lisp value and no local
;; variable of a document is evaluated, and no other file is read.

(setq enable-local-variables nil
      enable-dir-local-variables nil
      vc-handled-backends nil
      create-lockfiles nil
      org-inhibit-startup t
      org-element-use-cache nil
      gc-cons-threshold 100000000)
(require 'org)
(require 'ob)
(require 'cl-lib)

(define-error 'report-would-run "Would run something")
(defun report-refuse (&rest _) (signal 'report-would-run nil))
(dolist (runner '(org-babel-ref-resolve org-babel-execute-src-block org-babel-eval))
  (advice-add runner :override #'report-refuse))
(dolist (reader '(org-file-contents org-id-find org-id-find-id-file org-id-locations-load))
  (advice-add reader :override #'ignore))
(advice-add 'org-babel-read :around (lambda (read cell &rest _) (funcall read cell t)))

;; Only what the document itself asks for.
(setq org-babel-default-header-args nil
      org-babel-default-inline-header-args nil
      org-babel-default-lob-header-args nil)

(defun report-string (value) (if (stringp value) (substring-no-properties value) :null))
(defun report-flag (value) (if value t :false))
(defun report-value (value)
  (cond ((null value) :null)
        ((and (integerp value) (<= (abs value) most-positive-fixnum)) value)
        ((and (floatp value) (< (abs value) 1e300)) value)
        ((stringp value) (substring-no-properties value))
        (t (prin1-to-string value))))
(defun report-params (params)
  (cl-loop for (key . value) in params
           unless (and (memq key '(:results :exports)) (equal value ""))
           collect (vector (symbol-name key) (report-value value)) into pairs
           finally return (vconcat pairs)))
(defun report-line (place) (line-number-at-pos place t))
(defun report-around (element property)
  (cl-loop for around = (org-element-property :parent element)
           then (org-element-property :parent around)
           while around
           thereis (and (eq (org-element-type around) 'headline) (org-element-property property around))))
(defun report-within (element)
  (let (types)
    (while (setq element (org-element-property :parent element))
      (unless (memq (org-element-type element) '(nil org-data section headline))
        (push (symbol-name (org-element-type element)) types)))
    (vconcat types)))

(defun report-block (block)
  (let* ((language (org-element-property :language block))
         (begin (org-element-property :post-affiliated block))
         (headers (org-element-property :header block))
         (plain (list :language (report-string language)
                      :name (report-string (org-element-property :name block))
                      :switches (report-string (org-element-property :switches block))
                      :parameters (report-string (org-element-property :parameters block))
                      ;; Before 9.6 the last header line came first.
                      :headers (vconcat (mapcar #'report-string
                                                (if (version< (org-version) "9.6") (reverse headers) headers)))
                      :first_line (report-line (org-element-property :begin block))
                      :begin_line (report-line begin)
                      :end_line (save-excursion
                                  (goto-char (org-element-property :end block))
                                  (skip-chars-backward " \t\n")
                                  (report-line (point)))
                      :in (report-within block)
                      :commented (report-flag (report-around block :commentedp))
                      :archived (report-flag (report-around block :archivedp))))
         (defaults (intern-soft (concat "org-babel-default-header-args:" language))))
    (when (and defaults (boundp defaults)) (set defaults nil))
    (condition-case wrong
        (save-excursion
          (goto-char begin)
          (let* ((info (org-babel-get-src-block-info t block))
                 (params (nth 2 info))
                 (body (report-string (nth 1 info)))
                 (asks (org-babel-noweb-p params :eval))
                 (note nil)
                 (code (cond ((not asks) body)
                             ((equal (cdr (assq :comments params)) "noweb")
                              (setq note "comments noweb")
                              :null)
                             (t (condition-case why
                                    (report-string (org-babel-expand-noweb-references info))
                                  (error (setq note (if (eq (car why) 'report-would-run)
                                                        "needs evaluation"
                                                      (error-message-string why)))
                                         :null)))))
                 (run (if (stringp code)
                          (replace-regexp-in-string (org-src-coderef-regexp (nth 6 info)) "" code nil nil 1)
                        code)))
            (append plain
                    (list :body body
                          :params (report-params params)
                          :inherited (report-params
                                      (apply #'append (org-babel-params-from-properties language t)))
                          :eval (report-value (cdr (assq :eval params))))
                    (and asks (list :noweb_expanded code))
                    (and note (list :noweb_note note))
                    (unless (equal run body) (list :run_body run)))))
      (error (append plain (list :body (report-string (org-element-property :value block))
                                 :params []
                                 :error (error-message-string wrong)))))))

(defun report-call (call)
  (list :call (report-string (org-element-property :call call))
        :inside_header (report-string (org-element-property :inside-header call))
        :arguments (report-string (org-element-property :arguments call))
        :end_header (report-string (org-element-property :end-header call))
        :line (report-line (org-element-property :begin call))))

(defun report-inline (block)
  (list :language (report-string (org-element-property :language block))
        :parameters (report-string (org-element-property :parameters block))
        :body (report-string (org-element-property :value block))
        :line (report-line (org-element-property :begin block))))

(defun report-keyword (keyword)
  (list :key (report-string (org-element-property :key keyword))
        :value (report-string (org-element-property :value keyword))
        :line (report-line (org-element-property :post-affiliated keyword))))

(defun report-look-alikes (blocks)
  (let ((begins (mapcar (lambda (block) (plist-get block :begin_line)) blocks))
        (case-fold-search t)
        found)
    (goto-char (point-min))
    (while (re-search-forward "^[ \t]*#\\+begin_src\\([ \t]\\|$\\)" nil t)
      (let ((line (report-line (match-beginning 0))))
        (unless (memq line begins)
          (save-excursion
            (goto-char (match-beginning 0))
            (push (list :line line :in (symbol-name (org-element-type (org-element-at-point)))) found)))))
    (vconcat (nreverse found))))

(defun report-document (file)
  (with-temp-buffer
    ;; `utf-8-auto' drops a byte order mark, `utf-8' makes text of it.
    (let ((coding-system-for-read (intern (or (getenv "ORG_CODING") "utf-8-auto"))) (broken 0))
      (insert-file-contents file)
      (let ((crlf (eq 1 (coding-system-eol-type last-coding-system-used))))
        (goto-char (point-min))
        (while (re-search-forward "[^\x00-\xd7ff\xe000-\x10ffff]" nil t)
          (replace-match "\xfffd" t t)
          (cl-incf broken))
        (delay-mode-hooks (org-mode))
        (let* ((tree (org-element-parse-buffer))
               (all (lambda (type report) (org-element-map tree type report nil nil nil t)))
               (blocks (funcall all 'src-block #'report-block)))
          (list :file file :org (org-version) :crlf (report-flag crlf) :non_utf8 broken
                :keywords (vconcat (funcall all 'keyword #'report-keyword))
                :blocks (vconcat blocks)
                :calls (vconcat (funcall all 'babel-call #'report-call))
                :inline_blocks (vconcat (funcall all 'inline-src-block #'report-inline))
                :inline_calls (vconcat (funcall all 'inline-babel-call #'report-call))
                :look_alikes (report-look-alikes blocks)))))))

(defun report-files ()
  (let ((inhibit-message t) (coding-system-for-write 'utf-8-unix))
    (dolist (file command-line-args-left)
      (let ((report (condition-case wrong (report-document file)
                      (error (list :file file :error (error-message-string wrong))))))
        (write-region (concat (decode-coding-string (json-serialize report :false-object :false) 'utf-8) "\n")
                      nil "/dev/stdout" t 'silent)))
    (setq command-line-args-left nil)))

;; emacs … -f report-seconds FILE...: the CPU seconds of reading them, down to elements.
(defun report-seconds ()
  (let ((inhibit-message t) (seconds 0.0))
    (dolist (file command-line-args-left)
      (with-temp-buffer
        (let ((coding-system-for-read 'utf-8-auto)) (insert-file-contents file))
        (delay-mode-hooks (org-mode))
        (let ((before (float-time (get-internal-run-time))))
          (org-element-parse-buffer 'element)
          (setq seconds (+ seconds (- (float-time (get-internal-run-time)) before))))))
    (setq command-line-args-left nil)
    (princ (format "%f\n" seconds))))

;; emacs … -f report-included FILE...: the texts of the documents with what they include put in, as a JSON array.
(defun report-included ()
  (require 'ox)
  ;; Here files are read: Org 9.8 reads what is included by this.
  (advice-remove 'org-file-contents #'ignore)
  (let ((inhibit-message t) texts)
    (dolist (file command-line-args-left)
      (with-temp-buffer
        (insert-file-contents file)
        (delay-mode-hooks (org-mode))
        ;; Org 9.8 asks which file it is that includes.
        (setq buffer-file-name (expand-file-name file))
        (org-export-expand-include-keyword nil (file-name-directory buffer-file-name))
        (push (substring-no-properties (buffer-string)) texts)
        (set-buffer-modified-p nil)))
    (setq command-line-args-left nil)
    (princ (json-serialize (vconcat (nreverse texts))))))

;;; emacs.el ends here
