//! Where a search starts: its net, polynomials and latents.

use autorep_core::recipe::{Granularity, LatentInit, Method, PolynomialStart, ReplaceRecipe, Ties};
use autorep_core::task::OutputRef;
use tch::Tensor;

use super::super::{Setup, Start, inputs};
use crate::calibrate::Measuring;
use crate::data::{Batches, Stream};
use crate::error::TrainError;
use crate::masked::{Activations, MaskedNet};
use crate::nets::Phase;
use crate::norms;
use crate::rng::Rng;
use crate::running::Running;
use crate::scoring::{Scores, ranks};
use crate::sites::{Quadratic, Sites, Turning};
use crate::training::Lesson;

/// SNL: an element with a larger share of its ReLU counts as one that keeps it.
const LEAST_SHARE: f64 = 1e-2;

/// The baseline with polynomials of zeros, which nothing computes yet.
pub(super) fn full_net(
    setup: &Setup,
    baseline: &OutputRef,
    recipe: &ReplaceRecipe,
) -> Result<MaskedNet, TrainError> {
    let input = inputs::read(setup, 0, baseline)?;
    let mut masked = input.masked_net(setup)?;
    if masked.activations != Activations::Full {
        return Err(input.mismatch("expected a full-ReLU net, found polynomials".to_owned()));
    }
    masked.sites = searched_sites(setup, &masked, recipe);
    Ok(masked)
}

/// The sites of a full net, prepared for the recipe's search, with polynomials of zeros.
pub(super) fn searched_sites(setup: &Setup, masked: &MaskedNet, recipe: &ReplaceRecipe) -> Sites {
    let mut sites = blank_sites(setup, masked, recipe);
    prepare(&mut sites, recipe);
    sites
}

/// The net of a search for more ReLUs, as it is: the search for these budgets goes on from it.
pub(super) fn searched_net(
    setup: &Setup,
    from: &OutputRef,
    budgets: &[u64],
    recipe: &ReplaceRecipe,
) -> Result<MaskedNet, TrainError> {
    let input = inputs::read(setup, 1, from)?;
    let mut masked = input.masked_net(setup)?;
    let largest = budgets.first().copied().unwrap_or(0);
    let counted = masked.sites.count();
    let fits = |above: u64| above > largest && input.fits(above, counted);
    if !input.budget().is_some_and(fits) {
        return Err(input.mismatch(format!(
            "expected a net that was searched for more than {largest} ReLUs, found one with {counted}"
        )));
    }
    let sizes = |sites: &Sites| -> Vec<Vec<i64>> {
        sites.coefficients().iter().map(Tensor::size).collect()
    };
    if sizes(&masked.sites) != sizes(&blank_sites(setup, &masked, recipe)) {
        let problem = "expected polynomials of the search's degree and sharing, found others";
        return Err(input.mismatch(problem.to_owned()));
    }
    prepare(&mut masked.sites, recipe);
    masked.sites.take_up_quadratic();
    if masked.sites.kept_units().is_none() {
        let problem =
            "expected whole channels or sites, found some that keep a part of their ReLUs";
        return Err(input.mismatch(problem.to_owned()));
    }
    Ok(masked)
}

/// The sites of a full net with room for the recipe's polynomials.
fn blank_sites(setup: &Setup, masked: &MaskedNet, recipe: &ReplaceRecipe) -> Sites {
    let sites = masked.net.sites();
    let sharing = vec![recipe.sharing; sites.len()];
    Sites::with_polynomials(sites, recipe.degree, &sharing, setup.device)
}

/// Says how the recipe's search moves indicators.
fn prepare(sites: &mut Sites, recipe: &ReplaceRecipe) {
    let quadratic = Quadratic {
        scale: recipe.quadratic_scale,
        clip: recipe.quadratic_clip,
    };
    let turning = match recipe.method {
        Method::Autorep => Turning::Band(recipe.hysteresis),
        Method::Snl => Turning::Share(LEAST_SHARE),
    };
    sites.prepare_search(recipe.granularity, turning, quadratic);
}

/// Whether a search measures what replacing each ReLU changes.
pub(in crate::methods) fn scores(recipe: &ReplaceRecipe) -> bool {
    let ranked = [LatentInit::FirstOrder, LatentInit::SecondOrder];
    recipe.ties == Ties::Importance || ranked.contains(&recipe.latent_init)
}

/// Whether they have to be measured now: what a resume checkpoint overwrites is left out.
pub(super) fn needs_scores(recipe: &ReplaceRecipe, start: Start) -> bool {
    scores(recipe) && (start == Start::Anew || recipe.ties == Ties::Importance)
}

/// Sets a full net's polynomials to their start, or to what scores are measured with. What a resume
/// checkpoint overwrites is left out where it costs anything.
pub(super) fn set_polynomials(
    setup: &Setup,
    masked: &MaskedNet,
    stream: &Stream,
    recipe: &ReplaceRecipe,
    start: Start,
) -> Result<(), TrainError> {
    if recipe.method == Method::Snl || recipe.polynomial_start == PolynomialStart::Identity {
        set_identity(&masked.sites);
    } else if recipe.polynomial_start == PolynomialStart::Running {
        Running::set_identity(&masked.sites, recipe.degree, setup.spec.seed);
        if needs_scores(recipe, start) {
            // Scores are of the polynomials that the search is going to have.
            calibrate(setup, masked, stream, recipe)?;
        }
    } else if start == Start::Anew || recipe.ties == Ties::Importance {
        calibrate(setup, masked, stream, recipe)?;
    }
    Ok(())
}

/// Sets latents to their start and returns what ties are decided by.
pub(super) fn begin(
    setup: &Setup,
    masked: &mut MaskedNet,
    recipe: &ReplaceRecipe,
    scores: Option<&Scores>,
) -> Vec<f32> {
    let units = masked.sites.units();
    // An output is checked to have whole units before it comes here.
    let kept = masked.sites.kept_units().unwrap_or_default();
    let mut latents = match (recipe.latent_init, scores) {
        (LatentInit::FirstOrder, Some(scores)) => {
            ranks_of_kept(&units.means(&scores.first_order()), &kept)
        }
        (LatentInit::SecondOrder, Some(scores)) => {
            ranks_of_kept(&units.means(&scores.second_order()), &kept)
        }
        _ => initial_latents(recipe, &masked.sites, setup.spec.seed),
    };
    let replaced = replaced_latent(recipe);
    for (latent, _) in latents
        .iter_mut()
        .zip(&kept)
        .filter(|(_, kept)| **kept == 0)
    {
        *latent = replaced;
    }
    let ties = scores.filter(|_| recipe.ties == Ties::Importance);
    let ties = ties.map(|scores| ranks(&units.means(&scores.first_order())));
    masked.sites.set_latents(&Tensor::from_slice(&latents));
    masked.activations = Activations::Searching;
    ties.unwrap_or_default()
}

/// The ranks of the units that are kept among themselves; the others have a latent of their own.
fn ranks_of_kept(scores: &[f64], kept: &[u8]) -> Vec<f32> {
    let of_kept = scores.iter().zip(kept).filter(|(_, kept)| **kept > 0);
    let of_kept: Vec<f64> = of_kept.map(|(score, _)| *score).collect();
    let mut ranks = ranks(&of_kept).into_iter();
    let latent = |kept: &u8| match kept {
        0 => 0.0,
        _ => ranks.next().unwrap_or(0.0),
    };
    kept.iter().map(latent).collect()
}

/// Where the latents start of what the net replaces that a search starts from. SNL's shares: at none.
/// `AutoReP`'s: as far below the band as the highest of those that are kept starts above zero, so that
/// none comes back before the search has found a reason.
#[expect(clippy::cast_possible_truncation, reason = "latents are f32")]
fn replaced_latent(recipe: &ReplaceRecipe) -> f32 {
    let highest = match recipe.latent_init {
        LatentInit::Constant => recipe.latent_value,
        LatentInit::Uniform => recipe.latent_high,
        LatentInit::FirstOrder | LatentInit::SecondOrder => 1.0,
    };
    match recipe.method {
        Method::Autorep => -(recipe.hysteresis + highest) as f32,
        Method::Snl => 0.0,
    }
}

/// Latents that depend on the recipe and the seed alone, one per unit.
#[expect(clippy::cast_possible_truncation, reason = "latents are f32")]
fn initial_latents(recipe: &ReplaceRecipe, sites: &Sites, seed: u64) -> Vec<f32> {
    let (value, low) = (recipe.latent_value as f32, recipe.latent_low as f32);
    let width = recipe.latent_high as f32 - low;
    let mut latents = Vec::new();
    for site in sites.sites() {
        let mut rng = Rng::keyed(&site.name, &[seed]);
        let units = match recipe.granularity {
            Granularity::Pixel => site.relus(),
            Granularity::Channel => u64::from(site.channels),
            Granularity::Site => 1,
        };
        latents.extend((0..units).map(|_| match recipe.latent_init {
            LatentInit::Uniform => low + width * rng.unit_f32(),
            LatentInit::Constant | LatentInit::FirstOrder | LatentInit::SecondOrder => value,
        }));
    }
    latents
}

/// `g(x) = x`: what SNL puts in a ReLU's place.
fn set_identity(sites: &Sites) {
    for (at, coefficients) in sites.coefficients().iter().enumerate() {
        let (rows, columns) = coefficients.size2().expect("one row per power");
        let columns = usize::try_from(columns).unwrap_or(0);
        let row = |power| vec![if power == 1 { 1.0 } else { 0.0 }; columns];
        sites.set_coefficients(at, &(0..rows).map(row).collect::<Vec<_>>());
    }
}

/// Measures pre-activations over the first batches, with the batch statistics that training will
/// use, and starts every polynomial at the best one for them.
fn calibrate(
    setup: &Setup,
    masked: &MaskedNet,
    stream: &Stream,
    recipe: &ReplaceRecipe,
) -> Result<(), TrainError> {
    // What these batches skip, training meets again at its first steps and notes there.
    let mut batches = Batches::start(stream.clone(), 0, masked.device)?;
    let higher = recipe.polynomial_start == PolynomialStart::Moments;
    let mut measuring = Measuring::new(masked.net.sites().len(), higher);
    for _ in 0..recipe.calibration_batches {
        let batch = batches.take()?;
        let _logits = tch::no_grad(|| {
            let net = &masked.net;
            net.forward(&batch.images, Phase::Measure, &mut measuring)
        });
    }
    measuring.sum(&setup.ranks)?;
    let known = if recipe.polynomial_start == PolynomialStart::Bn {
        let set = setup.spec.data.name;
        let blueprint = setup.spec.net.blueprint(set.input(), set.classes());
        norms::before_sites(&masked.net, &blueprint)
    } else {
        Vec::new()
    };
    measuring.set_polynomials(&masked.sites, recipe, &known);
    Ok(())
}

/// Measures what replacing each ReLU changes, over the same batches.
pub(super) fn score(
    masked: &MaskedNet,
    stream: &Stream,
    lesson: &Lesson,
    recipe: &ReplaceRecipe,
) -> Result<Scores, TrainError> {
    let mut batches = Batches::start(stream.clone(), 0, masked.device)?;
    let mut scores = Scores::new();
    for _ in 0..recipe.calibration_batches {
        scores.add(masked, lesson, &batches.take()?)?;
    }
    scores.sum(masked.net.ranks())?;
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use autorep_core::net::Site;
    use autorep_core::recipe::Sharing;
    use tch::Device;

    use super::*;

    fn sites(degree: u32) -> Sites {
        let site = Site {
            name: "a".to_owned(),
            channels: 2,
            height: 16,
            width: 16,
        };
        Sites::with_polynomials(&[site], degree, &[Sharing::Channel], Device::Cpu)
    }

    #[test]
    fn the_identity_is_a_polynomial_of_either_degree() {
        for degree in [1, 2] {
            let sites = sites(degree);
            set_identity(&sites);
            let coefficients = &sites.coefficients()[0];
            for (power, wanted) in [0.0, 1.0, 0.0]
                .into_iter()
                .enumerate()
                .take(degree as usize + 1)
            {
                let row = coefficients.get(i64::try_from(power).unwrap());
                let row = Vec::<f32>::try_from(row).unwrap();
                assert_eq!(row, [wanted, wanted], "power {power} of degree {degree}");
            }
        }
    }

    #[test]
    fn what_the_start_replaces_begins_below_the_band_and_stays_off_until_its_latent_has_risen() {
        let recipe = |latent_init| ReplaceRecipe {
            latent_init,
            latent_value: 0.5,
            latent_high: 0.75,
            hysteresis: 0.25,
            ..ReplaceRecipe::default()
        };
        for (init, wanted) in [
            (LatentInit::Constant, -0.75_f32),
            (LatentInit::Uniform, -1.0),
            (LatentInit::FirstOrder, -1.25),
            (LatentInit::SecondOrder, -1.25),
        ] {
            let found = replaced_latent(&recipe(init));
            assert_eq!(found.to_bits(), wanted.to_bits(), "{init:?}");
        }
        let snl = ReplaceRecipe {
            method: Method::Snl,
            ..recipe(LatentInit::Constant)
        };
        assert_eq!(replaced_latent(&snl).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn what_the_start_keeps_is_ranked_among_itself() {
        let ranks = ranks_of_kept(&[3.0, 9.0, 1.0, 2.0], &[1, 0, 1, 1]);
        assert_eq!(ranks[0].to_bits(), (2.5_f32 / 3.0).to_bits());
        assert_eq!(ranks[2].to_bits(), (0.5_f32 / 3.0).to_bits());
        assert_eq!(ranks[3].to_bits(), 0.5_f32.to_bits());
        assert_eq!(ranks[1].to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn uniform_latents_lie_in_their_range_and_by_default_on_the_unit_interval() {
        let start = |low, high| {
            let recipe = ReplaceRecipe {
                latent_init: LatentInit::Uniform,
                latent_low: low,
                latent_high: high,
                ..ReplaceRecipe::default()
            };
            initial_latents(&recipe, &sites(2), 3)
        };
        let reference = start(0.0, 1.0);
        let mut rng = Rng::keyed("a", &[3]);
        assert!(
            reference
                .iter()
                .all(|latent| latent.to_bits() == rng.unit_f32().to_bits())
        );
        let narrow = start(0.2, 0.4);
        assert_eq!(narrow.len(), 512);
        assert!(narrow.iter().all(|latent| (0.2..0.4).contains(latent)));
        let ends = |near: f32| narrow.iter().any(|latent| (latent - near).abs() < 0.005);
        assert!(ends(0.2) && ends(0.4), "the whole width is used");
    }
}
