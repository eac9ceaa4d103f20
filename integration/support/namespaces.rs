//! Network namespaces, which stand for machines. They need root.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace whose loopback interface is up. It is deleted when this is dropped.
pub struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    /// A new namespace, under a name that no other test uses.
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("borges-test-{}-{number}", std::process::id()) };
        ip(&["netns", "add", &namespace.name]);
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        namespace
    }

    /// The words before a command that run it in the namespace.
    pub fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }
}

impl Default for NetworkNamespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Two namespaces that are connected by one link.
pub struct ConnectedNamespaces {
    /// Has the address 192.168.0.7.
    pub first: NetworkNamespace,
    /// Has the address 192.168.0.9.
    pub second: NetworkNamespace,
}

impl ConnectedNamespaces {
    /// Two new namespaces.
    pub fn new() -> Self {
        let (first, second) = (NetworkNamespace::new(), NetworkNamespace::new());
        let peer = ["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns"];
        ip(&[&["-n", &first.name][..], &peer, &[&second.name]].concat());
        for (namespace, address) in [(&first.name, "192.168.0.7/24"), (&second.name, "192.168.0.9/24")] {
            ip(&["-n", namespace, "address", "add", address, "dev", "wire"]);
            ip(&["-n", namespace, "link", "set", "wire", "up"]);
        }
        Self { first, second }
    }
}

impl Default for ConnectedNamespaces {
    fn default() -> Self {
        Self::new()
    }
}

fn ip(arguments: &[&str]) {
    let status =
        Command::new("ip").args(arguments).status().expect("`ip` is missing: apt-get install iproute2");
    assert!(status.success(), "ip {arguments:?} failed (it needs root)");
}
