//! Compiles the protos without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["common", "trainer", "fleet", "lab"].map(|it| format!("autorep/v1/{it}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    println!("cargo:rerun-if-changed=proto");

    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("autorep.v1.descriptors"),
        prost::Message::encode_to_vec(&descriptors),
    )?;

    let commands = ".autorep.v1.TrainerCommand.command";
    let large = "#[expect(clippy::large_enum_variant, reason = \"few are sent, one at a time\")]";
    if std::env::var_os("CARGO_FEATURE_SERVICES").is_some() {
        tonic_prost_build::configure()
            .enum_attribute(commands, large)
            .compile_fds(descriptors)?;
    } else {
        prost_build::Config::new()
            .enum_attribute(commands, large)
            .compile_fds(descriptors)?;
    }
    Ok(())
}
