//! A spec, or what status remembers, that cannot be read.

use std::time::Duration;

use proptest::{prelude::*, sample::subsequence};

use super::*;

#[test]
fn a_spec_that_cannot_be_read_goes_on_within_the_rules() {
    let unreadable = target(&json!({"bucket": "NOT A BUCKET"}));
    let before = access(&[Capability::ObjectAcls], false);
    let mut record = given(&before);
    let ended = PreviousAccess { access: access(&[], false).to_record(), until: Timestamp::UNIX_EPOCH };
    record.previous_access = vec![PreviousAccess {
        access: AccessRecord { prefix: "x/former/".into(), ..ended.access },
        until: ended.until,
    }];
    let Ok(Goal::Provide(goal)) = decided(&unreadable, &record, &[rule(&json!({}))]) else { panic!("it is kept") };
    assert_eq!(goal.invalid.as_ref().map(|invalid| invalid.field), Some("spec.bucket"));
    assert!(goal.suspended && goal.cut, "nothing is given, and what no rule allows goes");
    assert_eq!((goal.current.clone(), &goal.former), (Some(access(&[], false)), &Vec::new()), "and so does what ended");
    let refused = decided(&unreadable, &record, &[]);
    assert!(matches!(refused, Ok(Goal::Withhold { why: Refusal::NotAllowed(_) })));
    assert!(decided(&unreadable, &Record::default(), &[]).is_err(), "there is nothing to keep");
}

fn garbled() -> AccessRecord {
    AccessRecord { bucket: "NOT A BUCKET".into(), ..access(&[], false).to_record() }
}

#[test]
fn what_cannot_be_read_was_given_and_is_not_allowed() {
    let (rules, spec) = ([rule(&json!({"retain": true}))], json!({"bucket": "b-1", "prefix": "x/"}));
    let record = Record { access: Some(garbled()), ..given(&access(&[], false)) };
    let Ok(Goal::Provide(goal)) = decided(&target(&spec), &record, &rules) else { panic!("it is replaced") };
    assert!(goal.cut && goal.before.is_none() && goal.unreadable == Some("status.access"));
    assert_eq!(goal.record, (access(&[], false).to_record(), Vec::new()), "by what the rules allow");

    let suspended = target(&json!({"bucket": "b-1", "prefix": "x/", "suspend": true}));
    let Ok(Goal::Withhold { why }) = decided(&suspended, &record, &rules) else { panic!("it is taken back") };
    assert!(why.to_string().starts_with("status.access cannot be read (a bucket name"), "{why}");
    let unreadable = target(&json!({"bucket": "NOT A BUCKET"}));
    let Ok(Goal::Withhold { why: Refusal::Invalid(invalid) }) = decided(&unreadable, &record, &rules) else {
        panic!("it is taken back")
    };
    assert_eq!(invalid.field, "spec.bucket");
    assert!(matches!(decided(&target(&spec), &record, &[]), Ok(Goal::Withhold { .. })));
    let mut spec = spec;
    spec["deletionPolicy"] = json!("Retain");
    assert!(matches!(decided(&deleted(target(&spec)), &record, &rules), Ok(Goal::Remove)), "and can be deleted");
}

fn any_record() -> impl Strategy<Value = AccessRecord> {
    let bucket = prop_oneof![Just("b-1"), Just("b-2"), Just("NOT A BUCKET"), Just("")];
    let prefix = prop_oneof![Just("x/"), Just("y/"), Just(""), Just("a//b"), Just("x/*")];
    (bucket, prefix, subsequence(Capability::ALL.to_vec(), 0..=4)).prop_map(|(bucket, prefix, capabilities)| {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        AccessRecord { bucket, prefix, capabilities, ..access(&[], true).to_record() }
    })
}

proptest! {
    #[test]
    fn whatever_status_remembers_nothing_stays_beyond_the_rules(
        rules in proptest::collection::vec(any_rule(), 0..3),
        remembered in proptest::option::of(any_record()),
        former in proptest::collection::vec(any_record(), 0..3),
        bucket in prop_oneof![Just("b-1"), Just("NOT A BUCKET")],
        suspend in any::<bool>(),
        goes in any::<bool>(),
    ) {
        let until = Timestamp::UNIX_EPOCH + Duration::from_hours(1);
        let former = former.into_iter().map(|access| PreviousAccess { access, until }).collect();
        let record = Record {
            access: remembered.clone(), previous_access: former, access_key_id: Some("K1".into()),
            ..Record::default()
        };
        let live = target(&json!({"bucket": bucket, "prefix": "x/", "suspend": suspend}));
            let target = if goes { deleted(live) } else { live };
        match decided(&target, &record, &rules) {
            Err(_) => prop_assert!(remembered.is_none(), "what may work is nowhere left as it is"),
            Ok(Goal::Provide(goal)) => {
                                let reached = goal.current.iter().chain(&goal.former).chain(&goal.before);
                for access in reached {
                    prop_assert_eq!(allow::limit(access, &namespace(), &rules), Some(access.clone()));
                }
                let all = record.access.iter().chain(record.previous_access.iter().map(|former| &former.access));
                prop_assert!(goal.cut || all.clone().all(is_readable));
                prop_assert!(goal.record.1.iter().all(|former| is_readable(&former.access)));
                prop_assert!(is_readable(&goal.record.0), "what cannot be read is not remembered");
            }
            Ok(_) => {}
        }
    }
}
