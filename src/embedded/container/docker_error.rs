//! Classifies the errors of `docker` by their text, and words them for people (pure).

/// The kind of an error of `docker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DockerErrorKind {
    /// There is no `docker` on this machine.
    NotInstalled,
    /// The Docker daemon does not answer.
    NoDaemon,
    /// The registry cannot be reached.
    NoNetwork,
    /// The registry has no such image, or denies access to it.
    NoImage,
    /// There is no `/bin/sh` in the image.
    NoShell,
    /// There is no such container.
    NoContainer,
    /// There is such a container already.
    NameConflict,
    /// Any other error.
    Other,
}

/// Texts in the errors of `docker`, by kind; the first match counts.
const TEXTS: [(DockerErrorKind, &[&str]); 7] = [
    (DockerErrorKind::NotInstalled, &["`docker` is not installed"]),
    (
        DockerErrorKind::NoDaemon,
        &[
            "Cannot connect to the Docker daemon",
            "error during connect",
            "permission denied while trying to connect",
            "unexpected EOF",
            "failed to connect to the docker API",
        ],
    ),
    (DockerErrorKind::NoContainer, &["No such container", "No such object"]),
    (DockerErrorKind::NameConflict, &["is already in use by container"]),
    (DockerErrorKind::NoShell, &["exec: \"/bin/sh\""]),
    (
        DockerErrorKind::NoNetwork,
        &[
            "dial tcp",
            "no such host",
            "i/o timeout",
            "network is unreachable",
            "connection refused",
            "TLS handshake timeout",
            "Client.Timeout",
        ],
    ),
    (
        DockerErrorKind::NoImage,
        &[
            "pull access denied",
            "repository does not exist",
            "manifest unknown",
            "No such image",
            "not found",
            "unauthorized",
            "denied:",
        ],
    ),
];

/// The kind of an error, from the standard error of `docker`.
pub(super) fn kind(stderr: &str) -> DockerErrorKind {
    let found = TEXTS.iter().find(|(_, texts)| texts.iter().any(|text| stderr.contains(text)));
    found.map_or(DockerErrorKind::Other, |(kind, _)| *kind)
}

/// The message why a container of `image` cannot be run, with Docker's own error.
pub(super) fn message(image: &str, stderr: &str) -> String {
    let lines = relevant_lines(stderr);
    match kind(stderr) {
        DockerErrorKind::NotInstalled => format!("the image `{image}` needs Docker: {lines}"),
        DockerErrorKind::NoDaemon => {
            format!("no Docker daemon answers, so the image `{image}` cannot be run: {lines}")
        }
        DockerErrorKind::NoNetwork => {
            format!("the image `{image}` is not on this machine, and its registry cannot be reached: {lines}")
        }
        DockerErrorKind::NoImage => {
            format!("the image `{image}` is not on this machine, and its registry does not give it: {lines}")
        }
        DockerErrorKind::NoShell => {
            format!("the image `{image}` has no `/bin/sh`, which every block's wrapper needs: {lines}")
        }
        DockerErrorKind::NoContainer | DockerErrorKind::NameConflict | DockerErrorKind::Other => {
            format!("Docker does not run the image `{image}`: {lines}")
        }
    }
}

/// The lines of an error that carry information, without Docker's prefixes.
pub(super) fn relevant_lines(stderr: &str) -> String {
    let without_prefixes = |line: &str| {
        let mut line = line.trim().to_owned();
        for prefix in ["docker: ", "Error response from daemon: ", "Error: ", "error: "] {
            if let Some(rest) = line.strip_prefix(prefix) {
                line = rest.to_owned();
            }
        }
        line
    };
    let is_error = |line: &&str| {
        let prefixes = ["docker: ", "Error", "error", "Cannot", "permission denied", "invalid"];
        prefixes.iter().any(|prefix| line.trim_start().starts_with(prefix))
    };
    let mut lines: Vec<_> = stderr.lines().filter(is_error).map(without_prefixes).collect();
    // `docker start` adds a line without information.
    lines.retain(|line| !line.starts_with("failed to start containers"));
    if lines.is_empty() {
        lines = stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(without_prefixes)
            .next_back()
            .into_iter()
            .collect();
    }
    if lines.is_empty() { "it does not say why".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_and_worded() {
        let describe = |stderr: &str| format!("{:?}: {}", kind(stderr), message("x", stderr));
        insta::assert_snapshot!(
            describe("Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?\n"),
            @"NoDaemon: no Docker daemon answers, so the image `x` cannot be run: Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?"
        );
        insta::assert_snapshot!(
            describe("Unable to find image 'x:latest' locally\nError response from daemon: Get \"https://r/v2/\": dial tcp: lookup r: no such host\n"),
            @r#"NoNetwork: the image `x` is not on this machine, and its registry cannot be reached: Get "https://r/v2/": dial tcp: lookup r: no such host"#
        );
        insta::assert_snapshot!(
            describe("Unable to find image 'x:latest' locally\nlatest: Pulling from library/x\ndocker: Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'.\nSee 'docker create --help'.\n"),
            @"NoImage: the image `x` is not on this machine, and its registry does not give it: pull access denied for x, repository does not exist or may require 'docker login'."
        );
        insta::assert_snapshot!(
            describe("Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown\nError: failed to start containers: borges-r.1.1\n"),
            @r#"NoShell: the image `x` has no `/bin/sh`, which every block's wrapper needs: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown"#
        );
        insta::assert_snapshot!(
            describe("error: `docker` is not installed on this machine: not found on PATH /bin"),
            @"NotInstalled: the image `x` needs Docker: `docker` is not installed on this machine: not found on PATH /bin"
        );
        insta::assert_snapshot!(describe("what?\n\n"), @"Other: Docker does not run the image `x`: what?");
        insta::assert_snapshot!(describe(""), @"Other: Docker does not run the image `x`: it does not say why");
        assert_eq!(kind("Error response from daemon: No such container: x"), DockerErrorKind::NoContainer);
        assert_eq!(kind("Error: No such object: x"), DockerErrorKind::NoContainer);
        assert_eq!(
            kind("Conflict. The container name \"/x\" is already in use by container \"1\"."),
            DockerErrorKind::NameConflict
        );
    }
}
