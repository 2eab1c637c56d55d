//! Variables that say something else than they can: OpenTelemetry's own code passes over that before
//! there is a log to tell it in.

use std::str::FromStr as _;

use http::{HeaderName, HeaderValue};

/// What samples, as `OTEL_TRACES_SAMPLER` names it.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What can be doubted, one sentence for each variable. `variable` gives what one says, if it says
/// anything.
pub(super) fn doubts(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let sampler = variable("OTEL_TRACES_SAMPLER");
    let sampled = sampler.as_deref().and_then(|it| {
        if it.ends_with("traceidratio") {
            ratio(variable("OTEL_TRACES_SAMPLER_ARG").as_deref())
        } else {
            None
        }
    });
    let headers = [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ];
    let headers = (headers.into_iter()).find_map(|name| Some((name, variable(name)?)));
    let exporter = variable("OTEL_TRACES_EXPORTER").filter(|it| !it.eq_ignore_ascii_case("otlp"));
    [
        sampler
            .filter(|it| !SAMPLERS.contains(&it.as_str()))
            .map(|found| {
                let names = SAMPLERS.join(", ");
                format!(
                    "expected one of {names} in OTEL_TRACES_SAMPLER, found {found:?}: all traces \
                     are kept, unless the parent says not"
                )
            }),
        sampled,
        headers.and_then(|(name, value)| unfit(name, &value)),
        exporter.map(|found| {
            format!(
                "expected otlp or none in OTEL_TRACES_EXPORTER, found {found:?}: traces go out by OTLP"
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is wrong with the share of traces to keep.
fn ratio(argument: Option<&str>) -> Option<String> {
    let number = argument.and_then(|it| it.parse().ok());
    if number.is_some_and(|it| (0.0..=1.0).contains(&it)) {
        return None;
    }
    let share = number.map_or(1.0, |it: f64| it.clamp(0.0, 1.0));
    let found = argument.map_or_else(|| "nothing".to_owned(), |it| format!("{it:?}"));
    Some(format!(
        "expected a number from 0 to 1 in OTEL_TRACES_SAMPLER_ARG, the share of traces to keep, \
         found {found}: it counts as {share}"
    ))
}

/// What is wrong with headers, of which none is shown: they are often secret.
fn unfit(name: &str, headers: &str) -> Option<String> {
    let is_fit = |header: &str| {
        header.split_once('=').is_some_and(|(name, value)| {
            HeaderName::from_str(name.trim()).is_ok()
                && !value.trim().is_empty()
                && HeaderValue::from_str(value.trim()).is_ok()
        })
    };
    let all: Vec<&str> = headers.split_terminator(',').collect();
    let bad = all.iter().position(|header| !is_fit(header))?;
    Some(format!(
        "expected headers like x-tenant=lab with commas between them in {name}, found something else \
         as number {} of {}: it is left out",
        bad + 1,
        all.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The doubts about variables, given as `NAME=VALUE`.
    fn about(variables: &[&str]) -> Vec<String> {
        doubts(|wanted| {
            let pairs = variables.iter().filter_map(|it| it.split_once('='));
            pairs
                .into_iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.to_owned())
        })
    }

    #[test]
    fn what_can_be_meant_is_not_doubted() {
        for fit in [
            &[][..],
            &[
                "OTEL_TRACES_SAMPLER=always_off",
                "OTEL_TRACES_SAMPLER_ARG=x",
            ],
            &[
                "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG=0.25",
            ],
            &["OTEL_EXPORTER_OTLP_HEADERS=x-tenant=lab, Authorization=Basic%20YQ==,"],
            &["OTEL_TRACES_EXPORTER=otlp"],
        ] {
            assert_eq!(about(fit), Vec::<String>::new(), "{fit:?}");
        }
    }

    #[test]
    fn each_variable_that_makes_no_sense_is_told_of_once_and_headers_stay_secret() {
        let told = about(&[
            "OTEL_TRACES_SAMPLER=sometimes",
            "OTEL_EXPORTER_OTLP_HEADERS=x-fit=1,hunter2,=hunter2",
            "OTEL_TRACES_EXPORTER=jaeger",
        ]);
        let expected = [
            ("OTEL_TRACES_SAMPLER,", "\"sometimes\""),
            ("OTEL_EXPORTER_OTLP_HEADERS,", "number 2 of 3"),
            ("OTEL_TRACES_EXPORTER,", "\"jaeger\""),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, (name, found)) in told.iter().zip(expected) {
            assert!(told.contains(name) && told.contains(found), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        for (argument, counts) in [
            (None, "nothing: it counts as 1"),
            (Some("half"), "\"half\": it counts as 1"),
            (Some("-1"), "\"-1\": it counts as 0"),
            (Some("25"), "\"25\": it counts as 1"),
        ] {
            let argument = argument.map(|it| format!("OTEL_TRACES_SAMPLER_ARG={it}"));
            let mut variables = vec!["OTEL_TRACES_SAMPLER=traceidratio"];
            variables.extend(argument.as_deref());
            let told = about(&variables);
            assert!(told.len() == 1 && told[0].ends_with(counts), "{told:?}");
        }
        // Those for traces alone go first.
        let told = about(&[
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS=x-fit=1",
            "OTEL_EXPORTER_OTLP_HEADERS=none",
        ]);
        assert!(told.is_empty(), "{told:?}");
    }
}
