use std::collections::BTreeSet;

use super::*;

fn square(channels: u32, size: u32) -> InputShape {
    InputShape {
        channels,
        height: size,
        width: size,
    }
}

fn settings(name: Family) -> NetSettings {
    name.default_settings()
}

fn total(settings: &NetSettings, size: u32) -> u64 {
    settings.spec().relu_total(square(3, size))
}

/// Figures of the AutoReP and SNL papers' nets: 480 s² without and 544 s² with a stem ReLU.
#[test]
fn totals_of_cifar_resnets_equal_the_published_counts() {
    let with_stem = |name| NetSettings {
        stem_relu: true,
        ..settings(name)
    };
    assert_eq!(total(&settings(Family::Resnet18), 32), 491_520);
    assert_eq!(total(&with_stem(Family::Resnet18), 32), 557_056);
    assert_eq!(total(&settings(Family::Resnet18), 64), 1_966_080);
    assert_eq!(total(&with_stem(Family::Resnet18), 64), 2_228_224);
    assert_eq!(total(&settings(Family::Resnet9), 32), 245_760);
    assert_eq!(total(&settings(Family::Resnet9), 64), 983_040);
    assert_eq!(total(&settings(Family::Resnet34), 32), 901_120);
    assert_eq!(total(&settings(Family::Resnet34), 64), 3_604_480);
}

/// WRN-22-8: AutoReP's net has no final ReLU; the literature's 1392.6K has it.
#[test]
fn totals_of_wide_resnets_equal_the_published_counts() {
    let plain = settings(Family::WideResnet);
    let with_final = NetSettings {
        final_relu: true,
        ..plain.clone()
    };
    assert_eq!(total(&plain, 32), 1_359_872);
    assert_eq!(total(&plain, 64), 5_439_488);
    assert_eq!(total(&with_final, 32), 1_392_640);
    assert_eq!(total(&with_final, 64), 5_570_560);
    let sites = plain.spec().sites(square(3, 32));
    let relus: Vec<u64> = sites.iter().map(Site::relus).collect();
    let mut wanted = vec![16_384];
    wanted.extend([131_072; 6]);
    wanted.extend([65_536; 6]);
    wanted.extend([32_768; 5]);
    assert_eq!(relus, wanted);
}

/// The residual nets by hand: 3 x 224 x 224, of which the stem's pooling leaves 56 x 56.
#[test]
fn totals_of_imagenet_resnets_equal_counts_by_hand() {
    let stem = 64 * 112 * 112;
    let pixels = [56 * 56, 28 * 28, 14 * 14, 7 * 7];
    let basic: u64 = (0..4).map(|stage| 4 * (64 << stage) * pixels[stage]).sum();
    let small = settings(Family::ImagenetResnet18);
    assert_eq!(total(&small, 224), stem + basic);
    assert_eq!(total(&small, 224), 2_308_096);
    // The first block of stages two to four reduces only at its second convolution.
    let blocks = [3, 4, 6, 3];
    let first_reduces = |stage: usize| if stage > 0 { 3 } else { 0 };
    let bottlenecks: u64 = (0..4)
        .map(|stage| {
            let c = 64 << stage;
            let at_output = blocks[stage] * (2 * c + 4 * c) * pixels[stage];
            at_output + first_reduces(stage) * c * pixels[stage]
        })
        .sum();
    let large = settings(Family::ImagenetResnet50);
    assert_eq!(total(&large, 224), stem + bottlenecks);
    assert_eq!(total(&large, 224), 9_608_704);
    let averaged = NetSettings {
        stem_pool: Pool::Avg,
        ..small.clone()
    };
    assert_eq!(total(&averaged, 224), total(&small, 224));
}

/// The counts behind the AutoReP paper's figure of 176.1 times fewer ReLUs on `ImageNet`.
#[test]
fn totals_of_efficientnet_b2_equal_the_published_counts_and_the_choice_of_se_is_visible() {
    let counted = settings(Family::EfficientnetB2);
    let uncounted = NetSettings {
        se_sites: false,
        ..counted.clone()
    };
    let sites = |settings: &NetSettings| settings.spec().sites(square(3, 224)).len();
    assert_eq!((sites(&counted), total(&counted, 224)), (69, 8_804_162));
    assert_eq!((sites(&uncounted), total(&uncounted, 224)), (46, 8_803_536));
    assert_eq!(
        uncounted.spec().to_string(),
        "efficientnet-b2 without the ReLUs of SE"
    );
}

/// Parameters without running statistics; the figures are torchvision's (`num_params` of its
/// weights' metadata), for Lite0 those of its authors' table (4.7M).
#[test]
fn nets_have_the_published_numbers_of_parameters() {
    let parameters = |name: Family| {
        let mut sum = 0_u64;
        let blueprint = settings(name).spec().blueprint(square(3, 224), 1_000);
        blueprint.each(&mut |layer| {
            sum += match layer {
                Layer::Conv(conv) => {
                    let weights = u64::from(conv.inputs / conv.groups)
                        * u64::from(conv.outputs)
                        * u64::from(conv.kernel * conv.kernel);
                    weights + u64::from(if conv.bias { conv.outputs } else { 0 })
                }
                Layer::Norm(norm) => 2 * u64::from(norm.channels),
                Layer::Linear(linear) => u64::from(linear.outputs) * u64::from(linear.inputs + 1),
                Layer::Site(_)
                | Layer::Uncounted
                | Layer::Pool(_)
                | Layer::Sum { .. }
                | Layer::Gate(_)
                | Layer::Mean => 0,
            };
        });
        sum
    };
    assert_eq!(parameters(Family::ImagenetResnet18), 11_689_512);
    assert_eq!(parameters(Family::ImagenetResnet50), 25_557_032);
    assert_eq!(parameters(Family::EfficientnetB0), 5_288_548);
    assert_eq!(parameters(Family::EfficientnetB1), 7_794_184);
    assert_eq!(parameters(Family::EfficientnetB2), 9_109_994);
    assert_eq!(parameters(Family::EfficientnetLite0) / 100_000, 46);
}

#[test]
fn odd_sizes_round_up_as_a_padded_stride_two_convolution_does() {
    // 28 -> 14 -> 7 -> 4
    let total = NetSpec::resnet9(8).relu_total(square(1, 28));
    assert_eq!(total, 24_000);
}

#[test]
fn sites_and_tensors_have_names_of_their_own_in_every_net() {
    for family in Family::ALL {
        for classes in [10, 1_000] {
            let blueprint = settings(family).spec().blueprint(square(3, 64), classes);
            let mut names = BTreeSet::new();
            for site in &blueprint.sites {
                assert!(names.insert(site.name.clone()), "{family:?} {}", site.name);
            }
            let mut seen = Vec::new();
            blueprint.each(&mut |layer| match layer {
                Layer::Site(site) => seen.push(*site),
                Layer::Conv(conv) => assert!(names.insert(conv.name.clone()), "{}", conv.name),
                Layer::Norm(norm) => assert!(names.insert(norm.name.clone()), "{}", norm.name),
                Layer::Linear(linear) => {
                    assert_eq!(linear.outputs, classes);
                    assert!(names.insert(linear.name.clone()));
                }
                Layer::Uncounted
                | Layer::Pool(_)
                | Layer::Sum { .. }
                | Layer::Gate(_)
                | Layer::Mean => {}
            });
            let in_order: Vec<usize> = (0..blueprint.sites.len()).collect();
            assert_eq!(seen, in_order, "each site is used once, in forward order");
        }
    }
}

#[test]
fn a_net_takes_its_own_settings_and_no_others() {
    let given = NetSettings {
        width: 16,
        stem_relu: true,
        depth: 28,
        widen: 10,
        final_relu: true,
        stem_pool: Pool::Avg,
        se_sites: false,
        activation: Some(FullActivation::Published),
        ..settings(Family::Resnet9)
    };
    for name in Family::ALL {
        let ours = NetSettings {
            name,
            ..given.clone()
        };
        let json = serde_json::to_value(ours.spec()).unwrap();
        let keys: BTreeSet<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut wanted: BTreeSet<&str> = NET_SETTINGS.into_iter().collect();
        wanted.retain(|key| name.has(key));
        wanted.insert("name");
        assert_eq!(keys, wanted);
        assert_eq!(json["name"], name.name());
        let read: NetSpec = serde_json::from_value(json).unwrap();
        assert_eq!(read, ours.spec());
        assert_eq!(read.family(), name);
        assert_eq!(read.problem(), None);
    }
}

/// Tasks are named by this text: stored results are found under it.
#[test]
fn the_canonical_text_of_a_resnet9_stays_as_it_is() {
    let text = serde_json::to_string(&NetSpec::resnet9(8)).unwrap();
    assert_eq!(text, r#"{"name":"resnet9","width":8,"stem_relu":false}"#);
}

#[test]
fn settings_that_make_no_net_are_told() {
    let wide = |depth, widen| {
        NetSpec::WideResnet(WideResnet {
            depth,
            widen,
            final_relu: false,
        })
    };
    assert_eq!(wide(22, 8).problem(), None);
    let problem = wide(23, 8).problem().unwrap();
    assert!(problem.contains("such as 22, found 23"), "{problem}");
    let problem = wide(4, 8).problem().unwrap();
    assert!(problem.contains("such as 10, found 4"), "{problem}");
    assert!(wide(22, 0).problem().is_some());
    assert!(NetSpec::resnet9(0).problem().is_some());
    assert!(NetSpec::resnet9(u32::MAX).problem().is_some());
}
