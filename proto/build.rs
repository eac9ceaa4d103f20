//! Compiles the Mesos v1 messages of this folder, without protoc.
fn main() {
    println!("cargo:rerun-if-changed=proto");
}
