use std::fs::OpenOptions;
use std::io::Write as _;

use super::*;

#[test]
fn a_device_gets_its_own_code_or_the_ptx_of_the_newest_one_before_it() {
    let supported = [50, 80, 90, 100];
    let table = [
        (90, Some(Target::Cubin(90))),
        (89, Some(Target::Ptx(80))),
        (120, Some(Target::Ptx(100))),
        (37, None),
    ];
    for (device, target) in table {
        assert_eq!(Target::of(&supported, device), target, "{device}");
    }
}

#[test]
fn the_library_is_looked_for_beside_libtorch_before_the_loader_is_asked() {
    let maps = "7f00-7f01 r--p 0 08:01 11   /usr/lib/libc.so.6\n\
                7f02-7f03 r-xp 0 08:01 12   /opt/a folder/torch/lib/libtorch_cuda.so\n";
    let torch = torch_folder(maps).unwrap();
    assert_eq!(torch, Path::new("/opt/a folder/torch/lib"));
    assert_eq!(torch_folder("7f00-7f01 rw-p 0 00:00 0\n"), None);

    let root = tempfile::tempdir().unwrap();
    let torch = root.path().join("torch/lib");
    let wheel = root.path().join("nvidia/cuda_nvrtc/lib");
    for (folder, name) in [
        (&torch, "libtorch_cuda.so"),
        (&torch, "libnvrtc-672ee683.so.11.2"),
        (&torch, "libnvrtc-builtins.so.12.9"),
        (&wheel, "libnvrtc.so.12"),
        (&wheel, "libnvrtc.alt.so.12"),
        (&wheel, "libnvrtc-builtins.so.12.9"),
    ] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), "").unwrap();
    }
    let found = candidates(Some(torch.clone()));
    let names = |paths: &[PathBuf]| -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        paths.iter().map(name).collect()
    };
    let wanted = [
        "libnvrtc-672ee683.so.11.2",
        "libnvrtc.so.12",
        "libnvrtc.so.13",
        "libnvrtc.so.12",
        "libnvrtc.so",
    ];
    assert_eq!(names(&found), wanted);
    assert_eq!(found[0], torch.join(wanted[0]));
    assert_eq!(names(&companions(&found[1])), ["libnvrtc-builtins.so.12.9"]);
    assert!(companions(&found[2]).is_empty());
    assert!(found[2].parent().unwrap().as_os_str().is_empty());
}

/// NVRTC, if this machine has it. Otherwise says that the test checks nothing, also in the list that
/// `make test` prints at its end.
fn real() -> Option<Nvrtc> {
    let error = match Nvrtc::open() {
        Ok(nvrtc) => return Some(nvrtc),
        Err(error) => error,
    };
    // Whoever names one wants it used.
    assert!(env::var_os(VARIABLE).is_none(), "{error}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("LEFT OUT {test}: {error}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = env::var_os("AUTOREP_LEFT_OUT") {
        let list = OpenOptions::new().append(true).create(true).open(path);
        list.unwrap().write_all(line.as_bytes()).unwrap();
    }
    None
}

/// For every generation that may have to serve: code that keeps nothing of a thread in slow memory,
/// which ptxas counts and PTX shows.
#[test]
fn nvrtc_compiles_the_kernels_for_every_generation_without_spilling_registers() {
    let Some(nvrtc) = real() else { return };
    let supported = nvrtc.supported().unwrap();
    let wanted = [75, 80, 86, 89, 90, 100, 120];
    let targets: Vec<i32> = wanted
        .into_iter()
        .filter(|it| supported.contains(it))
        .collect();
    assert!(
        targets.contains(&80) && targets.contains(&90),
        "{supported:?}"
    );
    for element in Element::ALL {
        for capability in &targets {
            let spills = ["--ptxas-options=-v"];
            let cubin = nvrtc.compile(Target::Cubin(*capability), element, &spills);
            let cubin = cubin.unwrap();
            assert_eq!(&cubin.bytes[..4], b"\x7fELF");
            let all = cubin.log.matches("bytes stack frame").count();
            let clean = cubin
                .log
                .matches(" 0 bytes stack frame, 0 bytes spill stores");
            // Nothing is trained in f64.
            let spilling = usize::from(element == Element::Float64);
            assert_eq!(all, 6);
            assert!(
                clean.count() + spilling >= 6,
                "{element:?} {capability}: {}",
                cubin.log
            );
        }
        let ptx = nvrtc.compile(Target::Ptx(80), element, &[]).unwrap();
        assert_eq!(ptx.log, "");
        let ptx = CString::from_vec_with_nul(ptx.bytes).unwrap();
        let ptx = ptx.to_str().unwrap();
        for kernel in super::super::driver::KERNELS {
            let entry = format!(".entry {}(", kernel.to_str().unwrap());
            assert!(ptx.contains(&entry), "{entry}");
        }
        assert!(!ptx.contains(".local"), "{element:?}");
        let wide = if element == Element::Float64 {
            ".v2."
        } else {
            ".v4."
        };
        assert!(
            ptx.contains(wide),
            "{element:?}: neighbours are read together"
        );
    }
}

#[test]
fn nvrtc_says_what_is_wrong_with_a_source() {
    let Some(nvrtc) = real() else { return };
    let wrong = ["--define-macro=THREADS=no such thing"];
    let error = nvrtc.compile(Target::Ptx(80), Element::Float32, &wrong);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("error"), "{error}");
    assert!(matches!(nvrtc.target(20), Err(NvrtcError::Target { .. })));
}
