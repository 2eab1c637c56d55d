//! Compiles the protos without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["common.proto", "trainer.proto", "fleet.proto", "lab.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    println!("cargo:rerun-if-changed=proto");

    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("autorep.v1.descriptors"),
        prost::Message::encode_to_vec(&descriptors),
    )?;

    if std::env::var_os("CARGO_FEATURE_SERVICES").is_some() {
        tonic_prost_build::configure().compile_fds(descriptors)?;
    } else {
        prost_build::Config::new().compile_fds(descriptors)?;
    }
    Ok(())
}
