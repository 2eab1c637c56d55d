//! The whole of it on the CPU: the operator of autograd, the packing of arguments and the launcher as
//! they are, the kernels emulated, only NVRTC and the driver replaced.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::check::{Case, Masked, cases, compare};
use super::*;
use crate::nets::Layout;

/// The operator of this launcher equals its composition, to the limits of `check`.
#[test]
fn emulated_kernels_equal_the_composition_in_every_type_layout_and_mask() {
    let launcher = fake::launcher();
    let mut kernels = std::collections::BTreeSet::new();
    for case in cases() {
        let deviations = compare(case, Device::Cpu, |call| activation(call, launcher));
        for one in deviations {
            assert!(one.is_small(), "{one}");
        }
        kernels.extend(fake::launched().into_iter().map(|it| it.kernel));
    }
    assert_eq!(kernels.len(), driver::KERNELS.len(), "{kernels:?}");
    assert_eq!(fake::held(), (0, 0), "programs and contexts");
}

/// Numbers of a map in fewer bits are read and written as libtorch converts them, for each of their
/// 2^16 values.
#[test]
fn halves_are_converted_as_libtorch_does() {
    let launcher = fake::launcher();
    let bits: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    let bits = Tensor::from_slice(&bits);
    for kind in [Kind::BFloat16, Kind::Half] {
        let x = bits.view_dtype(kind).view([1, 1, 256, 256]);
        for factor in [1.0_f32, 1.234_567, 3.1e-3] {
            let coefficients = Tensor::from_slice(&[0.0, factor]).view([2, 1]);
            let call = Call {
                z: &x,
                norm: None,
                beside: None,
                keep: None,
                coefficients: &coefficients,
                watched: None,
            };
            let y = activation(&call, launcher);
            let wide = x.to_kind(Kind::Float);
            let wanted = (&wide * f64::from(factor)).to_kind(kind);
            let finite = wide.isfinite();
            let (got, wanted) = (y.masked_select(&finite), wanted.masked_select(&finite));
            assert!(got.equal(&wanted), "{kind:?} times {factor}");
            // Half of one percent are infinite or none at all; the polynomial of those is none.
            let rest = y.masked_select(&finite.logical_not());
            assert!(bool::try_from(rest.isnan().all()).unwrap());
        }
    }
}

fn call_of<'a>(z: &'a Tensor, coefficients: &'a Tensor) -> Call<'a> {
    Call {
        z,
        norm: None,
        beside: None,
        keep: None,
        coefficients,
        watched: None,
    }
}

/// A forward pass's launch.
fn forward(z: &Tensor, launcher: &'static Launcher) -> fake::Launched {
    let coefficients = Tensor::ones([3, 1], (Kind::Float, Device::Cpu));
    let _y = activation(&call_of(z, &coefficients), launcher);
    fake::launched().remove(0)
}

/// A block has 256 threads, whatever the map.
#[test]
fn maps_are_divided_as_their_sizes_and_places_in_memory_allow() {
    let launcher = fake::launcher();
    let options = (Kind::Float, Device::Cpu);
    let launched = |kernel: &str, grid: [u32; 2], block: [u32; 2]| fake::Launched {
        kernel: kernel.to_owned(),
        grid: [grid[0], grid[1], 1],
        block: [block[0], block[1], 1],
        stream: 0,
    };
    // 65,536 elements, four by four, 32 to a block, enough for 512 blocks.
    let large = Tensor::zeros([9, 16, 64, 64], options);
    let wanted = launched("masked_forward_wide", [512, 1], [32, 8]);
    assert_eq!(forward(&large, launcher), wanted);
    // The same, but four numbers do not begin where sixteen bytes do.
    let odd = Tensor::zeros([9 * 16 * 64 * 64 + 1], options).narrow(0, 1, 9 * 16 * 64 * 64);
    let wanted = launched("masked_forward", [2048, 1], [32, 8]);
    assert_eq!(forward(&odd.view([9, 16, 64, 64]), launcher), wanted);
    // Few elements and many images: these are divided among more blocks.
    let deep = Tensor::zeros([64, 8, 6, 6], options);
    let wanted = launched("masked_forward", [9, 8], [32, 8]);
    assert_eq!(forward(&deep, launcher), wanted);
    // Fewer images than a block could take.
    let few = Tensor::zeros([3, 5, 40, 33], options);
    let wanted = launched("masked_forward", [52, 2], [128, 2]);
    assert_eq!(forward(&few, launcher), wanted);
}

#[test]
fn results_are_the_same_each_time() {
    let launcher = fake::launcher();
    let case = Case {
        shape: [9, 8, 10, 10],
        layout: Layout::Planes,
        masked: Masked::Shares,
        degree: 2,
        shared: false,
        kind: Kind::Float,
        watched: true,
        seed: 1,
    };
    let of = || {
        let all = compare(case, Device::Cpu, |call| activation(call, launcher));
        all.iter()
            .map(|one| one.operator.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(), of());
}

#[test]
fn kernels_are_compiled_once_for_each_device_and_type_of_map() {
    let launcher = fake::launcher();
    for _time in 0..2 {
        for device in 0..2 {
            launcher.prepare(device, Element::Bfloat16).unwrap();
        }
    }
    launcher.prepare(0, Element::Float32).unwrap();
    let options = fake::compiled();
    assert_eq!(options.len(), 3, "{options:?}");
    assert!(options[0].contains("--gpu-architecture=sm_90"));
    assert!(options[2].contains("AUTOREP_ELEMENT=Float32"));
}

#[test]
fn what_does_not_compile_is_told_with_the_compilers_log_and_not_tried_again() {
    let launcher = fake::launcher();
    fake::fail("compile", 6);
    for _time in 0..2 {
        let why = launcher.prepare(0, Element::Float32).unwrap_err();
        assert!(why.contains("identifier is undefined"), "{why}");
    }
    assert_eq!(fake::compiled().len(), 1);
    assert_eq!(fake::held(), (0, 0), "programs and contexts");
}

#[test]
fn a_driver_that_cannot_load_kernels_is_told_by_its_function_and_code() {
    let launcher = fake::launcher();
    fake::fail("load", 700);
    let why = launcher.prepare(0, Element::Float64).unwrap_err();
    let wanted = "cuModuleLoadData with code 700: an illegal memory access";
    assert!(why.contains(wanted), "{why}");
    assert_eq!(fake::held(), (0, 0), "programs and contexts");
}

#[test]
fn a_launch_that_fails_is_an_error_of_the_operator() {
    let launcher = fake::launcher();
    let z = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
    let _first = forward(&z, launcher);
    fake::fail("launch", 700);
    let failed = catch_unwind(AssertUnwindSafe(|| forward(&z, launcher)));
    let why = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("cuLaunchKernel with code 700"), "{why}");
    assert_eq!(fake::held(), (0, 0), "programs and contexts");
}

/// On a CPU there is another operator, and none of this is asked for.
#[test]
fn maps_of_a_cpu_have_no_kernels() {
    let z = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
    let why = prepared(&z).unwrap_err();
    assert!(why.contains("expected a CUDA device"), "{why}");
}

#[test]
fn maps_beyond_an_index_of_32_bits_are_not_for_the_kernels() {
    let launcher = fake::launcher();
    let z = Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu));
    assert!(ready(launcher, 0, &z).is_ok());
    for shape in [[2, 2, 1 << 20, 1 << 10], [0, 3, 4, 4]] {
        let z = z.expand(&shape[..], false);
        let z = if shape[0] == 0 {
            Tensor::zeros(shape, (Kind::Float, Device::Cpu))
        } else {
            z
        };
        let why = ready(launcher, 0, &z).unwrap_err();
        assert!(why.contains("2^31"), "{why}");
    }
    let why = ready(launcher, 0, &z.to_kind(Kind::Int64)).unwrap_err();
    assert!(why.contains("expected a map of floats"), "{why}");
}
