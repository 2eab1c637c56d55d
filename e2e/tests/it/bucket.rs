//! Data sets in an S3 bucket, over the network, with bad moments.

use std::collections::BTreeSet;
use std::fs;

use crate::pictures;
use crate::s3::S3;
use crate::sandbox::{Sandbox, finish};
use crate::store::outputs;

/// The tiny sweep on pictures of which each is read from the bucket when it is needed.
const PICTURES: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: tiny }
spec:
  data: { name: tiny-imagenet, train_limit: 48, validation: 12 }
  net: { name: resnet9, width: 1 }
  budgets: [10%]
  baseline: { epochs: 2, batch: 16, lr: 0.05 }
  replace: { epochs: 2, batch: 16, calibration_batches: 1 }
  finetune: { epochs: 1, batch: 16 }
  retry: { attempts: 1 }
";

#[test]
fn a_sweep_reads_its_pictures_from_a_bucket_with_bad_moments_and_ends_in_the_same_nets() {
    let s3 = S3::start("sets", 7);
    let sandbox = Sandbox::new();
    pictures::tiny_imagenet(&sandbox.path("data/tiny-imagenet"), 30);
    sandbox.write("sweep.yaml", PICTURES);
    let data = |arguments: &[&str]| {
        let mut command = sandbox.autorep();
        s3.give(command.arg("data").args(arguments));
        finish(&mut command)
    };
    let from = sandbox.path("data/tiny-imagenet");
    let to = "s3://sets/packed/tiny-imagenet";
    data(&[
        "shard",
        "tiny-imagenet",
        "--from",
        from.to_str().unwrap(),
        "--to",
        to,
    ])
    .expect_code(0);
    let checked = data(&["check", "tiny-imagenet", "--data", "s3://sets/packed"]).expect_code(0);
    assert!(checked.stdout.contains("60 images"), "{}", checked.stdout);

    let folder = finish(&mut sandbox.run("here")).expect_code(0);
    let mut run = sandbox.run("there");
    s3.give(run.args(["--data", "s3://sets/packed", "--data-cache", "0"]));
    let bucket = finish(&mut run).expect_code(0);
    let nets = |store: &str| -> BTreeSet<Vec<u8>> {
        let outputs = outputs(&sandbox.path(store)).into_iter();
        outputs
            .map(|output| fs::read(output.tensors()).unwrap())
            .collect()
    };
    assert_eq!(nets("here").len(), 3, "{}", folder.stderr);
    assert!(nets("there") == nets("here"), "{}", bucket.stderr);
    let (requests, refused) = s3.requests();
    assert!(refused > 5, "{refused} of {requests}");

    // A shard that is damaged is found, and said.
    let shard = s3.object("sets", "packed/tiny-imagenet/train-000000.tar");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[600] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let damaged = data(&["check", "tiny-imagenet", "--data", "s3://sets/packed"]).expect_code(1);
    assert!(
        damaged.stdout.contains("expected the sha256")
            || damaged.stderr.contains("expected the sha256"),
        "{damaged:?}"
    );
}
