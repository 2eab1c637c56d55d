//! Files of weights and tensors: what other programs and the store give the trainer.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use autorep_core::net::{InputShape, NetSpec};
use autorep_trainer::checkpoint::Tensors;
use autorep_trainer::device;
use autorep_trainer::nets::Net;
use autorep_trainer::tensors::Named;
use autorep_trainer::weights::StateDict;
use safetensors::{Dtype, tensor::TensorView};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Inputs that start so are a pickle and its storages, which are put into a zip file here: nobody
/// guesses the checksums of one.
const UNZIPPED: u8 = b'Z';

thread_local! {
    static NET: Net = net();
}

fn net() -> Net {
    let input = InputShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    let cpu = device::open("cpu").expect("there is always a CPU");
    Net::new(&NetSpec::resnet9(1), input, 3, 5, cpu)
}

pub(crate) fn safetensors(input: &[u8]) {
    state_dict(input);
    let Ok(tensors) = Tensors::parse(input.to_vec(), PathBuf::from("tensors.safetensors")) else {
        return;
    };
    let _net = tensors.has_prefix("net.").expect("what was parsed");
    let named = NET.with(named);
    drop(tensors.restore(&named, |name| name.starts_with("site.")));
}

fn named(net: &Net) -> Named {
    let params = net.params().iter();
    params
        .map(|param| (format!("net.{}", param.name), param.tensor.shallow_clone()))
        .collect()
}

pub(crate) fn pth(input: &[u8]) {
    if let [UNZIPPED, low, high, rest @ ..] = input {
        let pickle = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (pickle, storages) = rest.split_at(pickle);
        state_dict(&zipped(pickle, storages));
    } else {
        state_dict(input);
    }
}

/// A zip file as `torch.save` makes them, with the same bytes twice as storages.
fn zipped(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [
        ("net/data.pkl", pickle),
        ("net/byteorder", b"little".as_slice()),
        ("net/data/0", storage),
        ("net/data/1", storage),
    ] {
        writer.start_file(name, options).expect("a file in memory");
        writer.write_all(bytes).expect("a file in memory");
    }
    writer.finish().expect("a file in memory").into_inner()
}

fn state_dict(bytes: &[u8]) {
    if let Ok(state) = StateDict::parse(bytes, Path::new("net")) {
        NET.with(|net| drop(state.assign(net)));
    }
}

pub(crate) fn safetensors_seeds() -> Vec<Vec<u8>> {
    let numbers = [1.0_f32, -2.0, 0.5].map(f32::to_le_bytes).concat();
    let view = |dtype, shape: &[usize], bytes: usize| {
        TensorView::new(dtype, shape.to_vec(), &numbers[..bytes]).expect("a shape of these bytes")
    };
    let foreign = [
        ("fc.bias", view(Dtype::F32, &[3], 12)),
        ("bn1.bias", view(Dtype::F16, &[1], 2)),
        ("bn1.num_batches_tracked", view(Dtype::I64, &[], 8)),
        ("empty", view(Dtype::U8, &[0, 4], 0)),
    ];
    let own = [
        ("net.fc.bias", view(Dtype::F32, &[3], 12)),
        ("site.a.indicators", view(Dtype::U8, &[5], 5)),
    ];
    let file = |tensors: &[(&str, TensorView<'_>)]| {
        let tensors = tensors.iter().map(|(name, view)| (*name, view));
        safetensors::serialize(tensors, None).expect("tensors in memory")
    };
    vec![file(&foreign), file(&own), whole_net()]
}

/// The net's own weights.
fn whole_net() -> Vec<u8> {
    let net = net();
    let sizes = |param: &autorep_trainer::nets::Param| -> Vec<usize> {
        let size = param.tensor.size().into_iter();
        size.map(|size| usize::try_from(size).unwrap_or(0))
            .collect()
    };
    let zeros = vec![0; 1 << 20];
    let views: Vec<(&str, TensorView<'_>)> = (net.params().iter())
        .map(|param| {
            let shape = sizes(param);
            let bytes = 4 * shape.iter().product::<usize>();
            let view = TensorView::new(Dtype::F32, shape, &zeros[..bytes]);
            (param.name.as_str(), view.expect("a small net"))
        })
        .collect();
    safetensors::serialize(views, None).expect("tensors in memory")
}

pub(crate) fn pth_seeds() -> Vec<Vec<u8>> {
    let numbers = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let pickle = pickle("0", "1");
    let mut unzipped = vec![UNZIPPED];
    unzipped.extend(u16::try_from(pickle.len()).unwrap_or(0).to_le_bytes());
    unzipped.extend(&pickle);
    unzipped.extend(&numbers);
    vec![unzipped, legacy(&numbers), zipped(&pickle, &numbers)]
}

/// The older form: a pickle of a number, of a version, of a system, the state dict, the list of
/// storages, and the storages.
fn legacy(numbers: &[u8]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.");
    file.extend(b"\x80\x02}(X\x0d\x00\x00\x00little_endian\x88u.");
    file.extend(pickle("x", "y"));
    file.extend(b"\x80\x02](X\x01\x00\x00\x00xX\x01\x00\x00\x00ye.");
    for _ in 0..2 {
        file.extend(4_u64.to_le_bytes());
        file.extend(numbers);
    }
    file
}

/// The pickle of `{"a": tensor([[1., 2.], [3., 4.]]).t(), "b": Parameter(tensor([1., 2., 3., 4.]))}`.
fn pickle(first: &str, second: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut opcode = vec![b'X', u8::try_from(text.len()).unwrap_or(0), 0, 0, 0];
        opcode.extend(text.as_bytes());
        opcode
    };
    let tensor = |key: &str, sizes: &[u8]| {
        let mut opcodes = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        opcodes.extend(text("storage"));
        opcodes.extend(b"ctorch\nFloatStorage\n");
        opcodes.extend(text(key));
        opcodes.extend(text("cpu"));
        opcodes.extend([b'K', 4, b't', b'Q', b'K', 0]);
        opcodes.extend(sizes);
        opcodes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        opcodes
    };
    let mut pickle = b"\x80\x02}q\x00(".to_vec();
    pickle.extend(text("a"));
    pickle.extend(tensor(first, b"(K\x02K\x02t(K\x01K\x02t"));
    pickle.extend(text("b"));
    pickle.extend(b"ctorch._utils\n_rebuild_parameter\n(");
    pickle.extend(tensor(second, b"(K\x04t(K\x01t"));
    pickle.extend(b"\x88ccollections\nOrderedDict\n)RtR");
    pickle.extend(b"u.");
    pickle
}
