use super::*;

fn two_sites() -> Vec<Site> {
    let site = |name: &str, channels| Site {
        name: name.to_owned(),
        channels,
        height: 2,
        width: 1,
    };
    vec![site("a", 1), site("b", 2)]
}

fn polynomials(degree: u32) -> Sites {
    Sites::with_polynomials(&two_sites(), degree, &[Sharing::Channel; 2], Device::Cpu)
}

#[test]
fn named_tensors_are_views_of_the_flat_ones() {
    let mut sites = polynomials(1);
    sites.set_latents(&Tensor::from_slice(&[0.1_f32, 0.2, 0.3, 0.4, 0.5, 0.6]));
    sites.set_indicators(&[1, 0, 0, 0, 1, 1]);
    let named = sites.named();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "site.a.coefficients",
        "site.a.indicators",
        "site.a.latents",
        "site.b.coefficients",
        "site.b.indicators",
        "site.b.latents",
    ];
    assert_eq!(names, wanted);
    assert_eq!(named[4].1.size(), [2, 2, 1]);
    assert_eq!(sites.count(), 3);
    assert_eq!(sites.replaced_sites(), [false, false]);
    // Writing through the named view changes the state.
    let _same = named[1].1.shallow_clone().fill_(0);
    assert_eq!(sites.count(), 2);
    assert_eq!(sites.replaced_sites(), [true, false]);
}

#[test]
fn the_count_of_a_search_carries_softplus_to_every_latent() {
    let mut sites = polynomials(0);
    sites.set_latents(&Tensor::zeros([6], (Kind::Float, Device::Cpu)));
    let searching = sites.searching().unwrap();
    assert!((searching.count.double_value(&[]) - 6.0).abs() < 1e-9);
    searching.count.backward();
    let gradient = sites.latents().unwrap().grad();
    let wanted = Tensor::full([6], std::f64::consts::LN_2, (Kind::Float, Device::Cpu));
    assert!(gradient.allclose(&wanted, 1e-6, 1e-6, false));
}

#[test]
fn a_unit_is_kept_or_replaced_as_a_whole() {
    let mut sites = polynomials(1);
    sites.set_indicators(&[1, 0, 0, 0, 1, 1]);
    assert_eq!(sites.kept_units().unwrap(), [1, 0, 0, 0, 1, 1]);
    sites.prepare_search(Granularity::Channel, Turning::Band(0.0), Quadratic::PLAIN);
    assert_eq!(sites.kept_units(), None);
    sites.set_indicators(&[1, 1, 0, 0, 1, 1]);
    assert_eq!(sites.kept_units().unwrap(), [1, 0, 1]);
}

#[test]
fn a_search_takes_up_the_quadratic_terms_that_an_output_holds() {
    let saved = || {
        let sites = polynomials(2);
        sites.set_coefficients(0, &[vec![1.0], vec![2.0], vec![0.25]]);
        sites.set_coefficients(1, &[vec![1.0; 2], vec![2.0; 2], vec![-0.5, 0.125]]);
        sites
    };
    let output = |sites: &Sites| {
        let named = sites.named_plain().into_iter();
        let coefficients = named.filter(|(name, _)| name.ends_with(".coefficients"));
        coefficients
            .map(|(_, tensor)| Vec::<f32>::try_from(tensor.select(0, 2)).unwrap())
            .collect::<Vec<_>>()
    };
    let mut sites = saved();
    let quadratic = Quadratic {
        scale: 0.5,
        clip: 0.75,
    };
    sites.prepare_search(Granularity::Pixel, Turning::Band(0.0), quadratic);
    sites.take_up_quadratic();
    // -0.5 would be -1 before the factor, which is cut as in any step.
    assert_eq!(output(&sites), [vec![0.25], vec![-0.375, 0.125]]);
}

#[test]
fn an_update_follows_the_latents() {
    let mut sites = polynomials(0);
    sites.set_latents(&Tensor::from_slice(&[
        1.0_f32, -1.0, 0.0, -0.001, 0.001, -0.5,
    ]));
    sites.prepare_search(Granularity::Pixel, Turning::Band(0.003), Quadratic::PLAIN);
    let flips = sites.update().unwrap().int64_value(&[]);
    assert_eq!((sites.count(), flips), (4, 2));
    assert_eq!(sites.counts(), [1, 3]);
    // 1, -1 and -0.5 are further than 0.4 from the band.
    assert!((sites.saturation(0.4).unwrap() - 0.5).abs() < 1e-12);
}

#[test]
fn whole_channels_turn_together_and_count_with_their_sizes() {
    let mut sites = polynomials(0);
    sites.prepare_search(Granularity::Channel, Turning::Band(0.0), Quadratic::PLAIN);
    sites.set_latents(&Tensor::from_slice(&[1.0_f32, -1.0, 1.0]));
    assert_eq!(sites.update().unwrap().int64_value(&[]), 2);
    assert_eq!(sites.indicators(), [1, 1, 0, 0, 1, 1]);
    let searching = sites.searching().unwrap();
    assert!((searching.count.double_value(&[]) - 4.0).abs() < 1e-9);
    searching.count.backward();
    // Two elements, each with the derivative softplus(1) and softplus(-1).
    let gradient = sites.latents().unwrap().grad();
    assert!((gradient.double_value(&[0]) - 2.0 * 1.313_261_7).abs() < 1e-5);
    assert!((gradient.double_value(&[1]) - 2.0 * 0.313_261_7).abs() < 1e-5);
    sites.set_units(&[0, 1, 0]);
    assert_eq!(sites.counts(), [0, 2]);
}

#[test]
fn shares_are_mixed_as_they_are_and_counted_above_their_least() {
    let mut sites = polynomials(1);
    sites.prepare_search(Granularity::Pixel, Turning::Share(0.01), Quadratic::PLAIN);
    sites.set_latents(&Tensor::from_slice(&[1.0_f32, 0.5, 0.005, -0.2, 0.0, 2.0]));
    let _flips = sites.update();
    assert_eq!(sites.indicators(), [1, 1, 0, 0, 0, 1]);
    let searching = sites.searching().unwrap();
    assert!((searching.count.double_value(&[]) - 3.705).abs() < 1e-5);
}

#[test]
fn quadratic_terms_are_scaled_in_passing_and_for_good_in_what_is_saved() {
    let mut sites = polynomials(2);
    let quadratic = Quadratic {
        scale: 0.1,
        clip: 1.0,
    };
    sites.prepare_search(Granularity::Pixel, Turning::Band(0.0), quadratic);
    sites.set_coefficients(0, &[vec![1.0], vec![2.0], vec![3.0]]);
    sites.clip_quadratic();
    let stored = &sites.named()[0].1;
    assert!((stored.double_value(&[2, 0]) - 1.0).abs() < 1e-6);
    let saved = &sites.named_plain()[0].1;
    for (power, wanted) in [1.0, 2.0, 0.1].into_iter().enumerate() {
        let got = saved.double_value(&[i64::try_from(power).unwrap(), 0]);
        assert!((got - wanted).abs() < 1e-6, "{power}: {got}");
    }
}
