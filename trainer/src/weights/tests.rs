use std::io::Write as _;

use autorep_core::net::{InputShape, NetSpec};
use tch::Device;

use super::*;

fn net() -> Net {
    let input = InputShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    Net::new(&NetSpec::resnet9(1), input, 3, 5, Device::Cpu)
}

fn state(net: &Net) -> BTreeMap<String, Tensor> {
    let params = net.params().iter();
    params
        .map(|param| (param.name.clone(), param.tensor.detach().copy()))
        .collect()
}

fn saved(folder: &Path, tensors: BTreeMap<String, Tensor>) -> PathBuf {
    let path = folder.join("net.safetensors");
    let state = StateDict {
        path: path.clone(),
        digest: Digest::of(b""),
        replaced: false,
        tensors,
    };
    state.write(&path).unwrap();
    path
}

#[test]
fn exported_weights_come_back_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let from = net();
    let path = saved(scratch.path(), state(&from));
    let input = InputShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    let to = Net::blank(&NetSpec::resnet9(1), input, 3, Device::Cpu);
    let read = StateDict::read(&path).unwrap();
    read.assign(&to).unwrap();
    for (from, to) in from.params().iter().zip(to.params()) {
        assert!(from.tensor.equal(&to.tensor), "{}", from.name);
    }
    let bytes = std::fs::read(&path).unwrap();
    read.check_digest(Digest::of(&bytes)).unwrap();
    let other = read.check_digest(Digest::of(b"another")).unwrap_err();
    assert!(other.to_string().contains("should have the sha256"));
}

#[test]
fn every_missing_surplus_and_misshapen_tensor_is_listed_in_one_error_and_nothing_changes() {
    let scratch = tempfile::tempdir().unwrap();
    let net = net();
    let before = state(&net);
    let mut tensors = state(&net);
    for tensor in tensors.values_mut() {
        *tensor = &*tensor + 1.0;
    }
    tensors.remove("bn1.bias");
    tensors.remove("layer3.0.conv2.weight");
    tensors.insert("fc.bias".to_owned(), Tensor::from_slice(&[1.0_f32, 2.0]));
    tensors.insert("extra.weight".to_owned(), Tensor::from_slice(&[1.0_f32]));
    let path = saved(scratch.path(), tensors);
    let error = StateDict::read(&path).unwrap().assign(&net).unwrap_err();
    let WeightsError::Mismatch { problems, .. } = &error else {
        panic!("{error}");
    };
    let wanted = [
        "expected bn1.bias of shape [1], found none",
        "expected layer3.0.conv2.weight of shape [4, 4, 3, 3], found none",
        "expected fc.bias of shape [3], found [2]",
        "found extra.weight, expected no such tensor",
    ];
    assert_eq!(problems, &wanted);
    for (name, tensor) in state(&net) {
        assert!(tensor.equal(&before[&name]), "{name} was changed");
    }
}

#[test]
fn wrappers_of_checkpoints_and_of_data_parallel_nets_are_taken_off() {
    let numbers = || Tensor::from_slice(&[1.0_f32]);
    let names = |names: &[&str]| {
        let tensors = names.iter().map(|name| ((*name).to_owned(), numbers()));
        let plain = plain_names(tensors.collect());
        plain.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&["net.fc.bias", "site.a.indicators"]), ["fc.bias"]);
    assert_eq!(names(&["module.fc.bias"]), ["fc.bias"]);
    assert_eq!(
        names(&["module.fc.bias", "fc.weight"]),
        ["fc.weight", "module.fc.bias"]
    );
}

/// The pickle of `{"a": tensor([[1., 2.], [3., 4.]]).t(), "n": tensor(7)}` with its storages.
fn pickled(first: &str, second: &str) -> Vec<u8> {
    let mut pickle = b"\x80\x02}q\x00(".to_vec();
    let mut tensor =
        |name: &[u8], class: &str, key: &str, count: u8, shape: &[u8], strides: &[u8]| {
            let text = |bytes: &[u8]| {
                let mut opcode = vec![b'X', u8::try_from(bytes.len()).unwrap(), 0, 0, 0];
                opcode.extend(bytes);
                opcode
            };
            let tuple = |sizes: &[u8]| {
                let mut opcodes = vec![b'('];
                opcodes.extend(sizes.iter().flat_map(|size| [b'K', *size]));
                opcodes.push(b't');
                opcodes
            };
            pickle.extend(text(name));
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            pickle.extend(text(b"storage"));
            pickle.extend(format!("ctorch\n{class}\n").as_bytes());
            pickle.extend(text(key.as_bytes()));
            pickle.extend(text(b"cpu"));
            pickle.extend([b'K', count, b't', b'Q', b'K', 0]);
            pickle.extend(tuple(shape));
            pickle.extend(tuple(strides));
            pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        };
    tensor(b"a", "FloatStorage", first, 4, &[2, 2], &[1, 2]);
    tensor(b"n", "LongStorage", second, 1, &[], &[]);
    pickle.extend(b"u.");
    pickle
}

fn floats() -> Vec<u8> {
    [1.0_f32, 2.0, 3.0, 4.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect()
}

fn legacy() -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.");
    file.extend(b"\x80\x02}(X\x0d\x00\x00\x00little_endian\x88u.");
    file.extend(pickled("x", "y"));
    file.extend(b"\x80\x02](X\x01\x00\x00\x00xX\x01\x00\x00\x00ye.");
    file.extend(4_u64.to_le_bytes());
    file.extend(floats());
    file.extend(1_u64.to_le_bytes());
    file.extend(7_i64.to_le_bytes());
    file
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn read_bytes(bytes: &[u8]) -> Result<StateDict, WeightsError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("net.pth");
    std::fs::write(&path, bytes).unwrap();
    StateDict::read(&path)
}

#[test]
fn both_forms_of_pytorchs_state_dicts_are_read() {
    let pickle = pickled("0", "1");
    let integer = 7_i64.to_le_bytes();
    let numbers = floats();
    let entries: [(&str, &[u8]); 4] = [
        ("net/data.pkl", &pickle),
        ("net/byteorder", b"little"),
        ("net/data/0", &numbers),
        ("net/data/1", &integer),
    ];
    for bytes in [zipped(&entries), legacy()] {
        let state = read_bytes(&bytes).unwrap();
        let names: Vec<&String> = state.tensors().keys().collect();
        assert_eq!(names, ["a", "n"]);
        let wanted = Tensor::from_slice(&[1.0_f32, 3.0, 2.0, 4.0]).view([2, 2]);
        assert!(state.tensors()["a"].equal(&wanted), "a transposed view");
        assert_eq!(state.tensors()["n"].int64_value(&[]), 7);
    }
}

#[test]
fn damaged_and_foreign_files_are_refused_with_a_reason() {
    let refused = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
    let pickle = pickled("0", "1");
    let numbers = floats();
    let big: [(&str, &[u8]); 2] = [("n/data.pkl", &pickle), ("n/byteorder", b"big")];
    assert!(refused(&zipped(&big)).contains("little-endian"));
    let short: [(&str, &[u8]); 3] = [
        ("n/data.pkl", &pickle),
        ("n/data/0", &numbers[..12]),
        ("n/data/1", &[0; 8]),
    ];
    assert!(refused(&zipped(&short)).contains("storage of 16 bytes, found 12 in tensor a"));
    assert!(refused(&zipped(&[("n/other", b"")])).contains("data.pkl"));
    assert!(refused(b"").contains("found neither"));
    assert!(refused(b"hello, this is text").contains("found neither"));
    let whole = legacy();
    for end in (0..whole.len()).step_by(7) {
        assert!(read_bytes(&whole[..end]).is_err(), "cut at {end}");
    }
}

/// Every byte of a small file changed: an error or other numbers, never a panic.
#[test]
fn no_changed_byte_makes_reading_panic() {
    let whole = legacy();
    for at in 0..whole.len() {
        for flip in [1_u8, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _read = torch_file::is_torch_file(&bytes).then(|| torch_file::read(&bytes));
        }
    }
}
