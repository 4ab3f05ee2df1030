//! Proofs as tests make them up.

use super::{
    plan::{Marks, Plan},
    probes::{Depth, Expect, Probe, Verb},
    proof::{Finding, Proof},
    reading::{Reading, Skipped},
};
use crate::{access::Access, provider::aws::amazon::ANSWERS};

/// What is tried of an access.
pub fn plan(access: &Access, depth: Depth) -> Plan {
    Plan::new(&ANSWERS, access, &[], Marks { uid: "uid", nonce: "nonce" }, depth)
}

/// A proof in which all is as it should be, but for some answers.
pub fn proof(plan: Plan, but: impl Fn(&Probe) -> Option<Reading>) -> Proof {
    let good = |probe: &Probe| match probe.expect {
        Expect::Works => Reading::Allowed,
        Expect::Refused => Reading::Refused(None),
    };
    let finding = |probe: &Probe| Finding { probe: probe.clone(), reading: but(probe).unwrap_or(good(probe)) };
    let findings = plan.probes.iter().map(finding).collect();
    Proof::new(plan, findings)
}

/// The answer to one probe.
pub fn with(verb: Verb, expect: Expect, reading: &Reading) -> impl Fn(&Probe) -> Option<Reading> {
    move |probe| probe.is(verb, expect).then(|| reading.clone())
}

/// A proof where there is no bucket, with what STS said of the key, if it was asked.
pub fn without_bucket(plan: Plan, identity: Option<Reading>) -> Proof {
    let reading = |at| if at == 0 { Reading::BucketMissing } else { Reading::NotTried(Skipped::Stopped) };
    let probes = plan.probes.iter().enumerate();
    let mut findings: Vec<Finding> =
        probes.map(|(at, probe)| Finding { probe: probe.clone(), reading: reading(at) }).collect();
    findings.extend(identity.map(|reading| Finding { probe: Probe::identity(true), reading }));
    Proof::new(plan, findings)
}
