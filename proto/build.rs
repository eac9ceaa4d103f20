//! Compiles the Mesos v1 messages of this folder, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=mesos");
    let files = protox::compile(
        ["mesos/v1/mesos.proto", "mesos/v1/scheduler/scheduler.proto", "mesos/v1/agent/agent.proto"],
        ["."],
    )?;
    prost_build::Config::new()
        // A body of some megabytes is then a slice of the record it came in, not a copy.
        .bytes(["."])
        // The same message is the same bytes, always.
        .btree_map(["."])
        .compile_fds(files)?;
    Ok(())
}
