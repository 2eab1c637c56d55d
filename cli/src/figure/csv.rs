//! The front as comma-separated values (RFC 4180, with line feeds).
//!
//! The first eight columns and their order are a contract; later ones may be added at the end.

use std::fmt::Write as _;

use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::searched::Convergence;

use super::relu_share;

const HEADER: &str = "candidate,budget,relu_count,relu_total,accuracy_mean,accuracy_std,seeds,\
                      on_front,kind,seeds_planned,relu_share,validation_mean,id,data,net,\
                      strategy,accuracy_se,p_on_front,front_low,front_high,lies_under,\
                      selection_bias,selection_bias_se,convergence,projection_cost\n";

pub(super) fn render(report: &FrontReport) -> String {
    let mut text = String::from(HEADER);
    for row in &report.rows {
        write_row(&mut text, row);
    }
    text
}

fn write_row(text: &mut String, row: &FrontRow) {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        quoted(&row.candidate),
        row.budget,
        row.relu_count,
        row.relu_total,
        row.accuracy_mean,
        row.accuracy_std,
        row.seeds,
        row.on_front,
        row.kind.name(),
        row.seeds_planned,
        number(relu_share(row)),
        number(row.validation_mean),
        row.id,
        quoted(&row.data),
        quoted(&row.net),
        row.strategy.name(),
        number(row.accuracy_se),
        number(row.p_on_front),
        number(row.front_low),
        number(row.front_high),
        row.lies_under
            .map(|count| count.to_string())
            .unwrap_or_default(),
        number(row.selection_bias),
        number(row.selection_bias_se),
        row.convergence.map_or("", Convergence::name),
        number(row.projection_cost),
    );
}

/// A field in quotes where it needs them: it holds a comma, a quote or a line break.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_only_where_they_must_be() {
        let cases = [
            ("replace.penalty=0.0001 x=2", "replace.penalty=0.0001 x=2"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("", ""),
        ];
        for (field, expected) in cases {
            assert_eq!(quoted(field), expected);
        }
    }
}
