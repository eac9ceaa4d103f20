//! Masters that are known only by ZooKeeper, and a leader that changes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use zookeeper_client::{Acls, Client, CreateMode};

use super::{server_on, stdout, wait_until};
use support::mesos::{Mesos, ask};
use support::poll::{DEADLINE, poll_until};
use support::server::free_port;

/// The classes of Debian's package.
const JARS: &str = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar";

struct ZooKeeper {
    server: Child,
    address: String,
    _directory: TempDir,
}

impl ZooKeeper {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (port, path) = (free_port(), directory.path());
        let settings = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            path.display()
        );
        fs::write(path.join("zoo.cfg"), settings).unwrap();
        let server = Command::new("java")
            .args(["-Xmx128m", "-cp", JARS, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
            .arg(path.join("zoo.cfg"))
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        poll_until(DEADLINE, "ZooKeeper listens", || std::net::TcpStream::connect(&address).is_ok());
        Self { server, address, _directory: directory }
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Replaces the node of the previous leader by that of a master, as an elected master does; the path of the node.
fn elect(zookeeper: &ZooKeeper, master: &str, before: Option<&str>) -> String {
    let (_, state) = ask(master, "/master/state", None);
    let (ip, port) = master.split_once(':').unwrap();
    let number = ip.split('.').rev().fold(0_u32, |number, part| number << 8 | part.parse::<u32>().unwrap());
    let info: Value = json!({
        "address": {"hostname": ip, "ip": ip, "port": port.parse::<u16>().unwrap()},
        "hostname": ip, "id": state["id"], "ip": number, "pid": format!("master@{master}"),
        "port": port.parse::<u16>().unwrap(), "version": "1.11.0",
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connected = Client::connector().with_session_timeout(Duration::from_secs(5));
        let client = connected.connect(&zookeeper.address).await.unwrap();
        let node = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let _there_already = client.create("/mesos", b"", &node).await;
        if let Some(before) = before {
            client.delete(before, None).await.unwrap();
        }
        let node = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        let (_, sequence) =
            client.create("/mesos/json.info_", info.to_string().as_bytes(), &node).await.unwrap();
        format!("/mesos/json.info_{sequence}")
    })
}

#[test]
#[ignore = "needs Mesos and ZooKeeper"]
fn scheduler_follows_the_leader_in_zookeeper() {
    let zookeeper = ZooKeeper::start();
    let masters = format!("zk://{}/mesos", zookeeper.address);
    let mut mesos = Mesos::with(&[]);
    let first = elect(&zookeeper, &mesos.master.address, None);
    mesos.add_agent_of(&masters, &[]);
    mesos.wait_for_agents(1);
    let server = server_on(&masters);
    let run = server.submit(
        "#+begin_src sh\necho up; while [ ! -e \"$MESOS_SANDBOX/go\" ]; do sleep 0.05; done\n#+end_src\n",
    );
    let task = format!("{run}.1");
    wait_until(&server, &task, "running");
    poll_until(DEADLINE, "the block has written `up`", || stdout(&server, &task) == b"up\n");
    let connected = || -> Value { serde_json::from_str(&server.curl(&[], "/varz").1).unwrap() };
    let framework = connected()["cluster"]["framework"].clone();

    mesos.master.end(Signal::SIGKILL);
    poll_until(DEADLINE, "the server notices it", || connected()["cluster"]["connected"] == false);
    mesos.move_master();
    mesos.wait_for_master();
    elect(&zookeeper, &mesos.master.address, Some(&first));
    poll_until(DEADLINE, "Borges has followed", || connected()["cluster"]["connected"] == true);
    assert_eq!(connected()["cluster"]["framework"], framework);
    mesos.wait_for_agents(1);
    let sandbox = super::output::sandbox(&mesos, &format!("{task}.1"));
    fs::write(Path::new(&sandbox).join("go"), "").unwrap();
    assert_eq!(wait_until(&server, &task, "finished")["attempt"], 1);
}
