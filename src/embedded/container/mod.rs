//! Blocks that run in containers, through the `docker` command: it knows `DOCKER_HOST`, contexts, and the
//! credentials of registries, and says in words what is wrong.
//!
//! Among the agent's children a container has a *stand-in*: a process that makes it, waits for it, notes its
//! end, and removes it. To agent and reaper the stand-in is like any block's process; it outlives both, and when
//! it is killed itself another one takes up the container where it is. The block's output does not pass
//! through Docker: a wrapper within the container writes it into the sandbox, which is mounted there.
//!
//! | file | |
//! |---|---|
//! | `mod` | the image a task asks for (pure) |
//! | `create` | a task → the arguments of `docker create`, and the wrapper (pure) |
//! | `docker_error` | what `docker` said → what a person is told (pure) |
//! | `shim_state` | the files beside a sandbox by which agent and stand-in understand each other |
//! | `docker` | the `docker` command, run |
//! | `shim` | the life of a stand-in |

pub(super) mod create;
mod docker;
mod docker_error;
mod shim;
pub(super) mod shim_state;

pub(super) use docker::remove;
pub(super) use shim::run;

use borges_mesos::messages::ContainerInfo;
use borges_mesos::messages::container_info::Type;
use borges_mesos::messages::container_info::docker_info::{Network, PortMapping};

/// The argument of `borges agent` that makes it a stand-in; the executor's directory follows it.
pub(super) const SHIM_ARG: &str = "--container";

/// The image a block runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// As `docker` understands it.
    pub(crate) reference: String,
    /// Asks the registry even when the image is on this machine.
    pub(crate) pull: bool,
    /// On Docker's bridge, with these ports of the machine mapped to its own; `None` is the machine's network.
    pub(crate) bridge: Option<Vec<(u16, u16)>>,
}

impl Image {
    /// Reads what a task says of its container. An error says what is not done here.
    pub(crate) fn of(info: ContainerInfo) -> Result<Self, String> {
        if info.r#type() != Type::Docker {
            return Err("the embedded cluster runs containers of type DOCKER only".to_owned());
        }
        let docker = info.docker.ok_or_else(|| "the task's container has no image".to_owned())?;
        let bridge = match docker.network() {
            Network::Host => None,
            Network::Bridge => Some(mappings(&docker.port_mappings)?),
            _ => {
                return Err(
                    "the embedded cluster's containers have the network HOST or BRIDGE only".to_owned()
                );
            }
        };
        let more = !info.volumes.is_empty()
            || !docker.parameters.is_empty()
            || docker.privileged()
            || docker.volume_driver.is_some()
            || info.hostname.is_some();
        if more {
            return Err("the embedded cluster gives a container nothing but an image".to_owned());
        }
        if docker.image.is_empty() || docker.image.starts_with('-') || docker.image.contains('\0') {
            return Err(format!("`{}` is no image", docker.image));
        }
        Ok(Self { pull: docker.force_pull_image(), reference: docker.image, bridge })
    }
}

/// Pairs of the machine's port and the container's.
fn mappings(mapped: &[PortMapping]) -> Result<Vec<(u16, u16)>, String> {
    let pair = |it: &PortMapping| Some((it.host_port.try_into().ok()?, it.container_port.try_into().ok()?));
    let plain = |it: &&PortMapping| it.protocol.as_deref().is_none_or(|protocol| protocol == "tcp");
    let pairs: Option<Vec<_>> = mapped.iter().map(|it| Some(it).filter(plain).and_then(pair)).collect();
    pairs.ok_or_else(|| "the embedded cluster maps ports of TCP only, from 1 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_mesos::messages::container_info::DockerInfo;

    #[test]
    fn an_image_and_a_network_is_all_there_is() {
        let docker = |docker: DockerInfo| {
            let info = ContainerInfo {
                r#type: Type::Docker as i32,
                docker: Some(docker),
                ..ContainerInfo::default()
            };
            Image::of(info)
        };
        let redis = || DockerInfo { image: "redis".into(), ..DockerInfo::default() };
        assert_eq!(docker(redis()), Ok(Image { reference: "redis".into(), pull: false, bridge: None }));
        let port = |host_port| PortMapping { host_port, container_port: 80, protocol: None };
        let bridged =
            DockerInfo { network: Some(Network::Bridge as i32), port_mappings: vec![port(8080)], ..redis() };
        assert_eq!(docker(bridged).unwrap().bridge, Some(vec![(8080, 80)]));
        let pulled = DockerInfo { force_pull_image: Some(true), ..redis() };
        assert!(docker(pulled).is_ok_and(|image| image.pull));
        for wrong in [
            DockerInfo { network: Some(Network::User as i32), ..redis() },
            DockerInfo {
                network: Some(Network::Bridge as i32),
                port_mappings: vec![port(70_000)],
                ..redis()
            },
            DockerInfo { privileged: Some(true), ..redis() },
            DockerInfo { image: String::new(), ..redis() },
            DockerInfo { image: "--privileged".into(), ..redis() },
        ] {
            assert!(docker(wrong.clone()).is_err(), "{wrong:?}");
        }
        let other = ContainerInfo { r#type: Type::Mesos as i32, ..ContainerInfo::default() };
        assert!(Image::of(other).is_err());
    }
}
