//! [`Image`], the Docker image and the network of a block, read from a task's `ContainerInfo` (pure).

use borges_mesos::messages::ContainerInfo;
use borges_mesos::messages::container_info::Type;
use borges_mesos::messages::container_info::docker_info::{Network, PortMapping};

/// A Docker image, and its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The reference, as `docker` takes it.
    pub(crate) reference: String,
    /// Whether to ask the registry even if the image is on this machine.
    pub(crate) pull: bool,
    /// Docker's bridge network, with pairs of the machine's and the container's port; `None` for the machine's
    /// network.
    pub(crate) bridge: Option<Vec<(u16, u16)>>,
}

impl Image {
    /// Reads a task's `ContainerInfo`. `Err` says what is not supported here.
    pub(crate) fn of(info: ContainerInfo) -> Result<Self, String> {
        if info.r#type() != Type::Docker {
            return Err("the embedded cluster runs containers of type DOCKER only".to_owned());
        }
        let docker = info.docker.ok_or_else(|| "the task's container has no image".to_owned())?;
        let bridge = match docker.network() {
            Network::Host => None,
            Network::Bridge => Some(port_pairs(&docker.port_mappings)?),
            _ => {
                return Err(
                    "the embedded cluster's containers have the network HOST or BRIDGE only".to_owned()
                );
            }
        };
        let unsupported = !info.volumes.is_empty()
            || !docker.parameters.is_empty()
            || docker.privileged()
            || docker.volume_driver.is_some()
            || info.hostname.is_some();
        if unsupported {
            return Err("the embedded cluster gives a container nothing but an image".to_owned());
        }
        if docker.image.is_empty() || docker.image.starts_with('-') || docker.image.contains('\0') {
            return Err(format!("`{}` is no image", docker.image));
        }
        Ok(Self { pull: docker.force_pull_image(), reference: docker.image, bridge })
    }
}

/// Pairs of the machine's port and the container's.
fn port_pairs(mappings: &[PortMapping]) -> Result<Vec<(u16, u16)>, String> {
    let pair = |mapping: &PortMapping| {
        Some((mapping.host_port.try_into().ok()?, mapping.container_port.try_into().ok()?))
    };
    let is_tcp =
        |mapping: &&PortMapping| mapping.protocol.as_deref().is_none_or(|protocol| protocol == "tcp");
    let pairs: Option<Vec<_>> =
        mappings.iter().map(|mapping| Some(mapping).filter(is_tcp).and_then(pair)).collect();
    pairs.ok_or_else(|| "the embedded cluster maps ports of TCP only, from 1 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_mesos::messages::container_info::DockerInfo;

    #[test]
    fn only_docker_images_with_a_host_or_bridge_network_are_accepted() {
        let image_of = |docker: DockerInfo| {
            let info = ContainerInfo {
                r#type: Type::Docker as i32,
                docker: Some(docker),
                ..ContainerInfo::default()
            };
            Image::of(info)
        };
        let redis = || DockerInfo { image: "redis".into(), ..DockerInfo::default() };
        assert_eq!(image_of(redis()), Ok(Image { reference: "redis".into(), pull: false, bridge: None }));
        let port = |host_port| PortMapping { host_port, container_port: 80, protocol: None };
        let bridged =
            DockerInfo { network: Some(Network::Bridge as i32), port_mappings: vec![port(8080)], ..redis() };
        assert_eq!(image_of(bridged).unwrap().bridge, Some(vec![(8080, 80)]));
        let pulled = DockerInfo { force_pull_image: Some(true), ..redis() };
        assert!(image_of(pulled).is_ok_and(|image| image.pull));
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
            assert!(image_of(wrong.clone()).is_err(), "{wrong:?}");
        }
        let other = ContainerInfo { r#type: Type::Mesos as i32, ..ContainerInfo::default() };
        assert!(Image::of(other).is_err());
    }
}
