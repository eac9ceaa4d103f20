//! Chooses and validates the Docker image of a block: `:dockerize` and `:image`.

use super::diagnostic::Diagnostic;
use super::value_parsers::Help;
use borges_org::{Block, Origin, Param};

/// `:dockerize`.
pub(super) fn dockerize(text: &str) -> Result<bool, Help> {
    match text {
        "t" | "yes" | "true" => Ok(true),
        "nil" | "no" | "false" => Ok(false),
        _ => Err("Write `t` or `nil`.".to_owned()),
    }
}

/// `:image`: a reference as Docker reads it, `[REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]`.
///
/// Source: Docker, distribution/reference, "Grammar".
pub(super) fn reference(text: &str) -> Result<String, Help> {
    let help =
        || "Write an image as for `docker run`: `redis`, `debian:12`, `registry:5000/team/x:1`.".to_owned();
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    let (host, rest) = match named.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, named),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    if path.contains(|c: char| c.is_ascii_uppercase()) && is_path(&path.to_ascii_lowercase()) {
        let named = named.replacen(path, &path.to_ascii_lowercase(), 1);
        return Err(format!("The names of images are in small letters: `{named}`."));
    }
    let is_valid = host.is_none_or(is_host)
        && is_path(path)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && text.len() <= 512;
    if is_valid { Ok(text.to_owned()) } else { Err(help()) }
}

/// The image of a block whose values are these; what is wrong or odd with that goes to `report`.
///
/// `default` is its language's.
pub(super) fn select(
    block: &Block,
    dockerize: Option<bool>,
    image: Option<String>,
    default: Option<&str>,
    mut report: impl FnMut(&Param, Diagnostic),
) -> Option<String> {
    let param = |key: &str| block.params.iter().rfind(|param| param.key == key);
    if dockerize != Some(true) {
        // Written for many blocks, it may be for those that say `:dockerize`.
        if let (None, Some(image), Some(param)) = (param(":dockerize"), image, param(":image"))
            && param.origin == Origin::Block
        {
            let text = format!("`:image {image}` has no effect without `:dockerize`");
            report(
                param,
                Diagnostic::warning(param.at, text, "Write `:dockerize t` beside it, or leave it out."),
            );
        }
        return None;
    }
    // What is wrong with one that was written has been told.
    if image.is_some() || param(":image").is_some() {
        return image;
    }
    let param = param(":dockerize")?;
    let Some(default) = default else {
        let help = "Write one beside it, such as `:image debian`, or give the language one: \
                    `#+borges_lang: NAME COMMAND IMAGE`.";
        report(
            param,
            Diagnostic::error(param.at, "`:dockerize` names no image, and the language has none", help),
        );
        return None;
    };
    reference(default)
        .map_err(|help| {
            let text = format!("`{default}`, the image of the block's language, is no image");
            report(param, Diagnostic::error(param.at, text, help));
        })
        .ok()
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !text.is_empty()
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    name.split('.').all(is_label)
        && port.is_none_or(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// Words of small letters and digits, held together by `.`, `_`, `__` or dashes; parted by slashes.
fn is_path(path: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    path.split('/').all(|component| {
        component.starts_with(is_word)
            && component.ends_with(is_word)
            && component
                .split(is_word)
                .all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'))
    })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(is_word) && tag.len() <= 128 && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | '_'))
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlanOptions, plan};
    use borges_org as org;

    #[test]
    fn image_references_are_validated() {
        let digest = format!("redis@sha256:{}", "0a".repeat(32));
        for text in [
            "redis",
            "redis:7.2-alpine",
            "library/redis",
            "registry:5000/x:1",
            "registry:5000/a/b/c",
            "localhost/x",
            "my.registry.example/team/some_thing__more:V1",
            "127.0.0.1:5000/a--b.c",
            &digest,
        ] {
            assert_eq!(reference(text).as_deref(), Ok(text));
        }
        for wrong in [
            "",
            " ",
            "a b",
            "a\tb",
            "a\u{7}",
            "-v",
            "--privileged",
            ":1",
            "redis:",
            "redis:a b",
            "x/",
            "/x",
            "a//b",
            "a..b",
            "a___b",
            "host:x/y",
            "host:/y",
            "-h.x/y",
            "redis@sha256:12",
            "redis@",
            "ö",
            "a:b:c",
            "x:-1",
        ] {
            assert!(reference(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            reference("registry:5000/Team/Redis:V1"),
            Err("The names of images are in small letters: `registry:5000/team/redis:V1`.".to_owned())
        );
    }

    fn plan_text(header: &str) -> String {
        let languages = "#+borges_lang: lisp sbcl debian:12\n#+borges_lang: bad sh Bad\n";
        let source = if header.contains("none") {
            format!("#+borges_lang: none x\n#+borges_lang: bad sh Bad\n{header}\n#+end_src\n")
        } else {
            format!("{languages}{header}\n#+end_src\n")
        };
        let request = PlanOptions { directory: Some("/here".to_owned()), ..PlanOptions::default() };
        match plan(source.as_bytes(), &org::parse(source.as_bytes(), &[]), &request) {
            Ok(plan) => {
                let command = &plan.tasks[0].command;
                let warnings =
                    plan.warnings.iter().map(|diagnostic| format!("\n{diagnostic}\n    {}", diagnostic.help));
                format!("{:?} in {:?}{}", command.image, command.directory, warnings.collect::<String>())
            }
            Err(diagnostics) => diagnostics
                .iter()
                .map(|diagnostic| format!("{diagnostic}\n    {}\n", diagnostic.help))
                .collect(),
        }
    }

    #[test]
    fn dockerize_and_image_choose_the_container() {
        for value in ["t", "yes", "true"] {
            assert_eq!(
                plan_text(&format!("#+begin_src sh :dockerize {value} :image registry:5000/x:1")),
                "Some(\"registry:5000/x:1\") in None"
            );
        }
        for value in ["nil", "no", "false"] {
            assert_eq!(
                plan_text(&format!("#+begin_src sh :dockerize {value} :image x")),
                "None in Some(\"/here\")"
            );
        }
        assert_eq!(
            plan_text("#+begin_src lisp :dockerize t :dir data"),
            "Some(\"debian:12\") in Some(\"data\")"
        );
        let inherited = "#+property: header-args :image x\n#+begin_src sh";
        assert_eq!(plan_text(inherited), "None in Some(\"/here\")");
        assert_eq!(plan_text(&format!("{inherited} :dockerize t")), "Some(\"x\") in None");
    }

    #[test]
    fn invalid_images_get_suggestions() {
        insta::assert_snapshot!(plan_text("#+begin_src sh :image x"), @r#"
        None in Some("/here")
        3:16: warning: `:image x` has no effect without `:dockerize`
            Write `:dockerize t` beside it, or leave it out.
        "#);
        assert_eq!(plan_text("#+begin_src sh :dockerize t"), "Some(\"debian:12-slim\") in None");
        insta::assert_snapshot!(plan_text("#+begin_src none :dockerize t"), @r#"
        3:18: error: `:dockerize` names no image, and the language has none
            Write one beside it, such as `:image debian`, or give the language one: `#+borges_lang: NAME COMMAND IMAGE`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src bad :dockerize t"), @r#"
        3:17: error: `Bad`, the image of the block's language, is no image
            The names of images are in small letters: `bad`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src sh :dockerize maybe :image x"), @r#"
        3:16: error: `maybe` is no value of `:dockerize`
            Write `t` or `nil`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src sh :dockerize t :image"), @r#"
        3:29: error: `:image` has no value
            Write an image as for `docker run`: `redis`, `debian:12`, `registry:5000/team/x:1`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src sh :dockerize t :image Redis"), @r#"
        3:29: error: `Redis` is no value of `:image`
            The names of images are in small letters: `redis`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src sh :dockerize t :image a b"), @r#"
        3:29: error: `a b` is no value of `:image`
            Write an image as for `docker run`: `redis`, `debian:12`, `registry:5000/team/x:1`.
        "#);
        insta::assert_snapshot!(plan_text("#+begin_src sh :dockerize t :image x :dir ~/data"), @r#"
        3:38: error: `:dir ~/data` is a directory of this machine, and the block runs in a container
            Write a path of the image, or one relative to the sandbox.
        "#);
    }
}
