//! What `docker` said → what a person is told.

/// What went wrong, by what `docker` said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DockerErrorKind {
    /// There is no `docker` on this machine.
    NotInstalled,
    /// Nobody answers.
    NoDaemon,
    /// The registry cannot be asked.
    NoNetwork,
    /// The registry was asked, and has no such image for us.
    NoImage,
    /// There is no `/bin/sh` in the image.
    NoShell,
    /// There is no such container.
    NoContainer,
    /// There is such a container already.
    NameConflict,
    /// Anything else.
    Other,
}

/// Words that `docker` uses, by what they mean; the first that is found counts.
const WORDS: [(DockerErrorKind, &[&str]); 7] = [
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

/// What kind of trouble `docker` wrote of.
pub(super) fn kind(said: &str) -> DockerErrorKind {
    let found = WORDS.iter().find(|(_, words)| words.iter().any(|words| said.contains(words)));
    found.map_or(DockerErrorKind::Other, |(kind, _)| *kind)
}

/// Why no container of `image` runs, with Docker's own words.
pub(super) fn message(image: &str, said: &str) -> String {
    let words = relevant_lines(said);
    match kind(said) {
        DockerErrorKind::NotInstalled => format!("the image `{image}` needs Docker: {words}"),
        DockerErrorKind::NoDaemon => {
            format!("no Docker daemon answers, so the image `{image}` cannot be run: {words}")
        }
        DockerErrorKind::NoNetwork => {
            format!("the image `{image}` is not on this machine, and its registry cannot be reached: {words}")
        }
        DockerErrorKind::NoImage => {
            format!("the image `{image}` is not on this machine, and its registry does not give it: {words}")
        }
        DockerErrorKind::NoShell => {
            format!("the image `{image}` has no `/bin/sh`, which every block's wrapper needs: {words}")
        }
        DockerErrorKind::NoContainer | DockerErrorKind::NameConflict | DockerErrorKind::Other => {
            format!("Docker does not run the image `{image}`: {words}")
        }
    }
}

/// The lines that tell something, without what Docker puts before each.
pub(super) fn relevant_lines(said: &str) -> String {
    let plain = |line: &str| {
        let mut line = line.trim().to_owned();
        for before in ["docker: ", "Error response from daemon: ", "Error: ", "error: "] {
            if let Some(rest) = line.strip_prefix(before) {
                line = rest.to_owned();
            }
        }
        line
    };
    let telling = |line: &&str| {
        let errs = ["docker: ", "Error", "error", "Cannot", "permission denied", "invalid"];
        errs.iter().any(|word| line.trim_start().starts_with(word))
    };
    let mut lines: Vec<_> = said.lines().filter(telling).map(plain).collect();
    // What `docker start` adds says nothing that is not known.
    lines.retain(|line| !line.starts_with("failed to start containers"));
    if lines.is_empty() {
        lines =
            said.lines().filter(|line| !line.trim().is_empty()).map(plain).next_back().into_iter().collect();
    }
    if lines.is_empty() { "it does not say why".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_is_understood() {
        let told = |said: &str| format!("{:?}: {}", kind(said), message("x", said));
        insta::assert_snapshot!(
            told("Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?\n"),
            @"NoDaemon: no Docker daemon answers, so the image `x` cannot be run: Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?"
        );
        insta::assert_snapshot!(
            told("Unable to find image 'x:latest' locally\nError response from daemon: Get \"https://r/v2/\": dial tcp: lookup r: no such host\n"),
            @r#"NoNetwork: the image `x` is not on this machine, and its registry cannot be reached: Get "https://r/v2/": dial tcp: lookup r: no such host"#
        );
        insta::assert_snapshot!(
            told("Unable to find image 'x:latest' locally\nlatest: Pulling from library/x\ndocker: Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'.\nSee 'docker create --help'.\n"),
            @"NoImage: the image `x` is not on this machine, and its registry does not give it: pull access denied for x, repository does not exist or may require 'docker login'."
        );
        insta::assert_snapshot!(
            told("Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown\nError: failed to start containers: borges-r.1.1\n"),
            @r#"NoShell: the image `x` has no `/bin/sh`, which every block's wrapper needs: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown"#
        );
        insta::assert_snapshot!(
            told("error: `docker` is not installed on this machine: not found on PATH /bin"),
            @"NotInstalled: the image `x` needs Docker: `docker` is not installed on this machine: not found on PATH /bin"
        );
        insta::assert_snapshot!(told("what?\n\n"), @"Other: Docker does not run the image `x`: what?");
        insta::assert_snapshot!(told(""), @"Other: Docker does not run the image `x`: it does not say why");
        assert_eq!(kind("Error response from daemon: No such container: x"), DockerErrorKind::NoContainer);
        assert_eq!(kind("Error: No such object: x"), DockerErrorKind::NoContainer);
        assert_eq!(
            kind("Conflict. The container name \"/x\" is already in use by container \"1\"."),
            DockerErrorKind::NameConflict
        );
    }
}
