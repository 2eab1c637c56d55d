//! The formats that are read by programs, and the table.

use std::sync::Arc;

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use autorep_core::candidate::PointKind;
use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::searched::Convergence;

use super::text_of;
use crate::figure::samples::{Sample, paper, quickstart};
use crate::figure::{Format, relu_share, render};

#[test]
fn the_csv_has_the_promised_columns_first_and_quotes_labels() {
    let report = Sample::new("small", 48_000)
        .point("net.width=16, \"wide\"", 3_000, &[8_600, 8_640])
        .report();
    let row = &report.rows[0];
    let id = row.id;
    let expected = format!(
        "candidate,budget,relu_count,relu_total,accuracy_mean,accuracy_std,seeds,on_front,\
         kind,seeds_planned,relu_share,validation_mean,id,data,net,strategy,accuracy_se,p_on_front,front_low,\
         front_high,lies_under,selection_bias,selection_bias_se,convergence,projection_cost\n\
         \"net.width=16, \"\"wide\"\"\",3000,3000,48000,86.2,0.282842712474619,2,true,\
         replaced,2,0.0625,85.8,{id},cifar-100,resnet18,independent,{},{},{},{},,-0.4,0,,\n",
        row.accuracy_se.unwrap(),
        row.p_on_front.unwrap(),
        row.front_low.unwrap(),
        row.front_high.unwrap(),
    );
    assert_eq!(row.p_on_front, Some(1.0), "it is alone");
    assert_eq!(text_of(&report, Format::Csv), expected);
}

#[test]
fn unknown_numbers_are_empty_in_the_csv() {
    let mut report = Sample::new("small", 0).point("a", 0, &[8_600]).report();
    report.rows[0].validation_mean = None;
    report.rows[0].selection_bias = None;
    let id = report.rows[0].id;
    let line =
        format!("a,0,0,0,86,0,1,true,replaced,1,,,{id},cifar-100,resnet18,independent,,,,,,,,,");
    assert_eq!(
        text_of(&report, Format::Csv).lines().nth(1),
        Some(line.as_str())
    );
}

#[test]
fn the_json_is_the_report_with_the_version_of_its_shape() {
    let report = paper().report();
    let json: serde_json::Value = serde_json::from_str(&text_of(&report, Format::Json)).unwrap();
    assert_eq!(json["schema"], "autorep.front/v1");
    let read: FrontReport = serde_json::from_value(json).unwrap();
    assert_eq!(read, report);
}

#[test]
fn the_parquet_file_reads_back_as_the_report() {
    let mut paper = paper().report();
    paper.rows[1].convergence = Some(Convergence::Left);
    paper.rows[1].projection_cost = Some(0.25);
    assert!(paper.rows.iter().any(FrontRow::is_under_trained));
    for report in [paper, Sample::new("empty", 1).report()] {
        let bytes = render(&report, Format::Parquet).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let file = reader.metadata().file_metadata();
        assert_eq!(file.created_by(), Some("autorep"));
        let entries = file.key_value_metadata().unwrap().iter();
        let entries: Vec<_> = entries
            .map(|entry| (entry.key.as_str(), entry.value.clone().unwrap()))
            .collect();
        let expected = [
            ("autorep.schema", "autorep.front/v1".to_owned()),
            ("autorep.sweep", report.sweep.to_string()),
            ("autorep.hypervolume", report.hypervolume.to_string()),
        ];
        assert_eq!(entries, expected);

        let rows: Vec<Vec<(String, Field)>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().into_columns())
            .collect();
        let expected: Vec<Vec<(String, Field)>> = report.rows.iter().map(fields).collect();
        assert_eq!(rows, expected);
    }
}

fn fields(row: &FrontRow) -> Vec<(String, Field)> {
    let count = |number: u64| Field::Long(i64::try_from(number).unwrap());
    let optional = |number: Option<f64>| number.map_or(Field::Null, Field::Double);
    [
        ("candidate", Field::Str(row.candidate.clone())),
        ("budget", count(row.budget)),
        ("relu_count", count(row.relu_count)),
        ("relu_total", count(row.relu_total)),
        ("accuracy_mean", Field::Double(row.accuracy_mean)),
        ("accuracy_std", Field::Double(row.accuracy_std)),
        ("seeds", count(row.seeds.into())),
        ("on_front", Field::Bool(row.on_front)),
        ("kind", Field::Str(row.kind.name().to_owned())),
        ("seeds_planned", count(row.seeds_planned.into())),
        ("relu_share", optional(relu_share(row))),
        ("validation_mean", optional(row.validation_mean)),
        ("id", Field::Str(row.id.to_string())),
        ("data", Field::Str(row.data.clone())),
        ("net", Field::Str(row.net.clone())),
        ("strategy", Field::Str(row.strategy.name().to_owned())),
        ("accuracy_se", optional(row.accuracy_se)),
        ("p_on_front", optional(row.p_on_front)),
        ("front_low", optional(row.front_low)),
        ("front_high", optional(row.front_high)),
        ("lies_under", row.lies_under.map_or(Field::Null, count)),
        ("selection_bias", optional(row.selection_bias)),
        ("selection_bias_se", optional(row.selection_bias_se)),
        (
            "convergence",
            (row.convergence).map_or(Field::Null, |it| Field::Str(it.name().to_owned())),
        ),
        ("projection_cost", optional(row.projection_cost)),
    ]
    .map(|(name, field)| (name.to_owned(), field))
    .to_vec()
}

#[test]
fn parquet_and_csv_have_the_same_columns() {
    let report = quickstart().report();
    let bytes = render(&report, Format::Parquet).unwrap();
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let schema = Arc::clone(&reader.metadata().file_metadata().schema_descr_ptr());
    let columns: Vec<&str> = schema
        .columns()
        .iter()
        .map(|column| column.name())
        .collect();
    let csv = text_of(&report, Format::Csv);
    assert_eq!(columns.join(","), csv.lines().next().unwrap());
}

#[test]
fn the_table_lines_up_and_marks_baselines_and_dominated_points() {
    let sample = Sample::new("small", 48_000)
        .baseline(&[8_941, 8_905])
        .point("penalty=1", 1_500, &[8_490, 8_423])
        .point("penalty=2", 1_500, &[8_401, 8_352])
        .with((PointKind::Replaced, "penalty=1", 24_000), &[8_873], 2);
    let expected = "\
small (T = 48,000 ReLUs)

   candidate            budget   ReLUs    of T  accuracy %    validation %  on front  seeds
─  default (full ReLU)  48,000  48,000   100 %  89.23 ± 0.25         88.82              2/2
●  penalty=1             1,500   1,500  3.13 %  84.57 ± 0.47         84.16      97 %    2/2
·  penalty=2             1,500   1,500  3.13 %  83.77 ± 0.35         83.36       3 %    2/2
●  penalty=1            24,000  24,000    50 %  88.73                88.32     100 %    1/2

● on the front: 2   · dominated: 1   ─ full-ReLU baseline, for reference
accuracy: mean ± standard deviation over seeds, on the test set
on front: probability, by a normal model of other seeds
selection bias: validation less test accuracy is -0.41 on the front, -0.41 over all points, on average
one row is provisional: some of its seeds are still to come
hypervolume 0.8408
";
    let report = sample.report();
    // The front by hand: 84.565 % from 1,500 to 24,000 of 48,000, then 88.73 % to the end.
    let area = (24_000.0 - 1_500.0) / 48_000.0 * 0.845_65 + 0.5 * 0.887_3;
    assert!((report.hypervolume - area).abs() < 1e-12);
    let expected = expected.replace("0.8408", &format!("{area:.4}"));
    assert_eq!(text_of(&report, Format::Table), expected);
}

#[test]
fn the_table_names_what_is_under_trained_and_what_to_do() {
    let sample = Sample::new("small", 48_000)
        .point("penalty=1", 1_500, &[8_490, 8_470])
        .point("penalty=1", 3_000, &[8_600, 8_620])
        .point("penalty=1", 24_000, &[8_310, 8_290])
        // Another setting's points say nothing of it.
        .point("penalty=2", 24_000, &[8_000, 8_020]);
    let text = text_of(&sample.report(), Format::Table);
    assert!(
        text.contains("dominated: 2   ! of these under-trained: 1\n"),
        "{text}"
    );
    let named = "under-trained, under a point with fewer ReLUs by more than noise: penalty=1 at \
                 24,000 (under 3,000); raise finetune.epochs, or set under_trained, to train \
                 on\n";
    assert!(text.contains(named), "{text}");
    let marked = text.lines().filter(|line| line.starts_with("!  "));
    assert_eq!(marked.count(), 1, "{text}");

    // Nothing is proposed for a point that was trained on already; another budget's or another
    // setting's training on says nothing of it.
    let sample = (sample.point("penalty=1 trained_on=4", 3_000, &[8_610, 8_630])).point(
        "penalty=2 trained_on=4",
        24_000,
        &[8_000, 8_020],
    );
    assert!(text_of(&sample.report(), Format::Table).contains(named));
    let sample = sample.point("penalty=1 trained_on=4", 24_000, &[8_700, 8_720]);
    let text = text_of(&sample.report(), Format::Table);
    assert!(!text.contains("raise"), "{text}");
    let plain = Sample::new("plain", 48_000)
        .point("default", 1_000, &[8_600, 8_620])
        .point("default", 2_000, &[8_300, 8_320]);
    let advice = |sample: &Sample| text_of(&sample.report(), Format::Table).contains("raise");
    assert!(advice(&plain));
    assert!(!advice(&plain.point(
        "trained_on=4",
        2_000,
        &[8_500, 8_520]
    )));

    let series = (1..=12).fold(Sample::new("falling", 48_000), |sample, step| {
        let correct = 9_000 - 200 * step;
        sample.point("default", 1_000 * step, &[correct, correct + 10])
    });
    let text = text_of(&series.report(), Format::Table);
    assert!(
        text.contains(", default at 9,000 (under 1,000) and 3 more; raise"),
        "{text}"
    );
}

#[test]
fn an_empty_front_is_said_to_be_empty() {
    let report = Sample::new("nothing-yet", 48_000).report();
    assert_eq!(
        text_of(&report, Format::Table),
        "nothing-yet\n\nno results yet\n"
    );
}
