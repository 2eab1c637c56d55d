use super::*;

fn task() -> TaskId {
    TaskId(Digest::of(b"task"))
}

fn resume() -> CheckpointRef {
    CheckpointRef {
        task: task(),
        generation: Generation(4),
        role: CheckpointRole::Resume,
        step: 1000,
        manifest: Digest::of(b"manifest"),
    }
}

fn observation() -> Observation {
    Observation {
        relu_count: 1500,
        relu_total: 30_000,
        validation: Some(Accuracy {
            correct: 900,
            images: 1000,
        }),
        test: None,
        searched_count: Some(1498),
        selected_epoch: Some(3),
        epochs: 4,
        seconds: 12.5,
        skipped_images: 3,
        curve: LearningCurve {
            images: 1000,
            epochs: vec![(30_000, 905).into(), (1500, 900).into()],
        },
        searched: Some(searched()),
    }
}

fn searched() -> Searched {
    let accuracy = |correct| Accuracy {
        correct,
        images: 1000,
    };
    let projection = |budget, effect| Projection {
        budget,
        searched_count: budget - 2,
        epochs: 1,
        effect,
    };
    let change = Effect::Change {
        before: accuracy(905),
        after: accuracy(900),
    };
    Searched {
        epochs: 2,
        turned_off: 28_600,
        turned_on: 98,
        projections: vec![
            projection(9000, Some(Effect::Nothing)),
            projection(3000, None),
            projection(1500, Some(change)),
        ],
    }
}

fn row() -> FrontRow {
    FrontRow {
        id: CandidateId(Digest::of(b"candidate")),
        candidate: "default".to_owned(),
        kind: PointKind::Replaced,
        strategy: Strategy::Descent,
        data: "fashion-mnist".to_owned(),
        net: "resnet9".to_owned(),
        budget: 1500,
        relu_count: 1500,
        relu_total: 30_000,
        accuracy_mean: 88.25,
        accuracy_std: 0.1,
        accuracy_se: Some(0.05),
        p_on_front: Some(0.9),
        front_low: Some(88.0),
        front_high: Some(88.5),
        validation_mean: None,
        seeds: 1,
        seeds_planned: 2,
        on_front: true,
        lies_under: Some(700),
        selection_bias: Some(0.25),
        selection_bias_se: None,
        convergence: Some(Convergence::Left),
        projection_cost: Some(-0.1),
    }
}

/// Asserts that `wire` is refused because of `field`.
#[track_caller]
fn check_refused<C: TryFrom<W, Error = BadMessage> + std::fmt::Debug, W>(wire: W, field: &str) {
    let refused = C::try_from(wire).unwrap_err();
    assert_eq!(refused.field, field, "{refused}");
}

#[test]
fn everything_comes_back_from_the_wire_as_it_was() {
    let claim = LeaseClaim {
        task: task(),
        generation: Generation(u64::MAX),
    };
    assert_eq!(LeaseClaim::try_from(v1::LeaseClaim::from(claim)), Ok(claim));
    let member = LeasePart { claim, node: 3 };
    assert_eq!(
        LeasePart::try_from(v1::LeaseClaim::from(member)),
        Ok(member)
    );
    // What only a leader may say, a member cannot even ask for.
    let refused = LeaseClaim::try_from(v1::LeaseClaim::from(member)).unwrap_err();
    assert_eq!(refused.field, "LeaseClaim.node");

    for role in [
        CheckpointRole::Resume,
        CheckpointRole::Output("b1500".to_owned()),
    ] {
        let checkpoint = CheckpointRef { role, ..resume() };
        let wire = v1::CheckpointRef::from(checkpoint.clone());
        assert_eq!(CheckpointRef::try_from(wire), Ok(checkpoint));
    }

    let wire = v1::Observation::from(observation());
    assert_eq!(Observation::try_from(wire), Ok(observation()));

    let front = FrontReport {
        sweep: "fashion".parse().unwrap(),
        rows: vec![
            FrontRow {
                kind: PointKind::Baseline,
                validation_mean: Some(91.0),
                p_on_front: None,
                on_front: false,
                convergence: None,
                ..row()
            },
            row(),
        ],
        hypervolume: 0.8,
    };
    let wire = v1::Front::from(front.clone());
    assert_eq!(FrontReport::try_from(wire), Ok(front));
}

#[test]
fn every_failure_class_has_a_number_and_comes_back() {
    let mut known = 0;
    for number in 1..=100 {
        if let Ok(class) = failure_class("f", number) {
            assert_eq!(i32::from(v1::FailureClass::from(class)), number);
            known += 1;
        }
    }
    assert_eq!(known, 11);
    assert!(failure_class("f", 0).is_err());
    assert!(failure_class("f", -1).is_err());
}

#[test]
fn a_claim_for_something_that_is_no_task_is_refused() {
    for text in ["", "abc", &"A".repeat(64), &"é".repeat(200)] {
        check_refused::<LeaseClaim, _>(
            v1::LeaseClaim {
                task: text.to_owned(),
                generation: 1,
                node: 0,
            },
            "LeaseClaim.task",
        );
    }
}

#[test]
fn a_checkpoint_whose_role_and_output_do_not_fit_is_refused() {
    let wire = |role: v1::CheckpointRole, output: &str| v1::CheckpointRef {
        role: role.into(),
        output: output.to_owned(),
        ..resume().into()
    };
    for refused in [
        wire(v1::CheckpointRole::Unspecified, ""),
        wire(v1::CheckpointRole::Resume, "net"),
        wire(v1::CheckpointRole::Output, ""),
        wire(v1::CheckpointRole::Output, "../other"),
        wire(v1::CheckpointRole::Output, "a/b"),
        wire(v1::CheckpointRole::Output, &"a".repeat(65)),
        v1::CheckpointRef {
            role: 77,
            ..resume().into()
        },
    ] {
        check_refused::<CheckpointRef, _>(refused, "CheckpointRef.role");
    }
    check_refused::<CheckpointRef, _>(
        v1::CheckpointRef {
            manifest_sha256: "0".repeat(63),
            ..resume().into()
        },
        "CheckpointRef.manifest_sha256",
    );
}

/// The observation with what its search reports changed.
fn reporting(change: impl FnOnce(&mut v1::Searched)) -> v1::Observation {
    let mut wire = v1::Observation::from(observation());
    change(wire.searched.as_mut().unwrap());
    wire
}

#[test]
fn an_observation_that_no_net_can_make_is_refused() {
    let good = || v1::Observation::from(observation());
    let cases = [
        (
            v1::Observation {
                relu_count: 30_001,
                ..good()
            },
            "Observation.relu_count",
        ),
        (
            v1::Observation {
                searched_count: Some(30_001),
                ..good()
            },
            "Observation.searched_count",
        ),
        (
            v1::Observation {
                seconds: f64::NAN,
                ..good()
            },
            "Observation.seconds",
        ),
        (
            v1::Observation {
                seconds: -1.0,
                ..good()
            },
            "Observation.seconds",
        ),
        (
            v1::Observation {
                test: Some(v1::Accuracy {
                    correct: 0,
                    images: 0,
                }),
                ..good()
            },
            "Accuracy.images",
        ),
        (
            v1::Observation {
                validation: Some(v1::Accuracy {
                    correct: 2,
                    images: 1,
                }),
                ..good()
            },
            "Accuracy.correct",
        ),
        (
            reporting(|searched| searched.projections[0].budget = 30_001),
            "Projection.budget",
        ),
        (
            reporting(|searched| searched.projections[0].searched_count = 30_001),
            "Projection.searched_count",
        ),
        (
            reporting(|searched| searched.projections = vec![v1::Projection::default(); 1001]),
            "Searched.projections",
        ),
    ];
    for (wire, field) in cases {
        check_refused::<Observation, _>(wire, field);
    }
}

#[test]
fn a_front_with_a_row_or_a_name_that_cannot_be_is_refused() {
    let front = |row: v1::FrontRow| v1::Front {
        sweep: "fashion".to_owned(),
        rows: vec![row],
        hypervolume: 0.5,
    };
    check_refused::<FrontReport, _>(
        front(v1::FrontRow {
            kind: 0,
            ..row().into()
        }),
        "FrontRow.kind",
    );
    check_refused::<FrontReport, _>(
        front(v1::FrontRow {
            accuracy_mean: f64::INFINITY,
            ..row().into()
        }),
        "FrontRow.accuracy_mean",
    );
    check_refused::<FrontReport, _>(
        front(v1::FrontRow {
            convergence: "nearly".to_owned(),
            ..row().into()
        }),
        "FrontRow.convergence",
    );
    check_refused::<FrontReport, _>(
        v1::Front {
            sweep: "Not A Name".to_owned(),
            ..front(row().into())
        },
        "Front.sweep",
    );
}

#[test]
fn a_missing_message_is_named_and_long_text_is_quoted_in_part() {
    let refused = required::<u8>("CommitRequest.claim", None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "CommitRequest.claim: expected a message, found nothing"
    );
    assert!(quote(&"é".repeat(1000)).len() < 100);
}
