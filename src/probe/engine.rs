//! Runs the probes of a plan: the one that decides first, what writes one after the other, the rest a few at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{
    bucket::bucket_is_missing,
    client::Client,
    plan::Plan,
    probes::{Depth, Expect, Probe, Verb},
    proof::{Finding, Proof},
    reach::Reach,
    reading::{Answer, Family, Reading, Skipped},
};
use crate::{access::rclone::AccessKey, api::Capability};

/// How long a proof should be given: far more than it needs where all servers answer.
pub const DEADLINE: Duration = Duration::from_secs(25);
const AT_ONCE: usize = 4;

/// Tries what is planned, with a target's own key.
///
/// After `deadline` no request begins any more; one may then be on its way, and two more may tidy up, of 10 s each. When this
/// is dropped before it is done, a probe object or an upload may stay behind; the next proof removes it, whether it writes or not.
pub async fn prove(
    reach: Reach<'_>,
    family: &'static Family,
    key: &AccessKey,
    plan: Plan,
    deadline: Duration,
) -> Proof {
    let engine = Engine {
        client: Client::new(&reach, family, plan.access.bucket.as_str(), key),
        reach,
        family,
        plan: &plan,
        end: Instant::now() + deadline,
        stopped: AtomicBool::new(false),
    };
    let findings = engine.run().await;
    Proof::new(plan, findings)
}

struct Engine<'a> {
    client: Client,
    reach: Reach<'a>,
    family: &'static Family,
    plan: &'a Plan,
    end: Instant,
    stopped: AtomicBool,
}

/// Which probes belong together, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Object,
    Upload,
    Rest,
}

fn stage(probe: &Probe) -> Stage {
    match (probe.expect, probe.verb) {
        (Expect::Works, Verb::PutDamaged | Verb::Put | Verb::Get | Verb::SetAcl | Verb::Delete) => Stage::Object,
        (Expect::Works, Verb::ListUploads | Verb::StartUpload | Verb::ListParts | Verb::AbortUpload) => Stage::Upload,
        _ => Stage::Rest,
    }
}

impl Engine<'_> {
    async fn run(&self) -> Vec<Finding> {
        let Some((first, others)) = self.plan.probes.split_first() else { return Vec::new() };
        let mut findings = vec![self.first(first).await];
        // A key that cannot even list its folder is not ready, or not to be used here: it costs one call, not all of them.
        if !findings[0].reading.is_allowed() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.try_object(others, &mut findings).await;
        self.try_upload(others, &mut findings).await;
        self.try_rest(others, &mut findings).await;
        let may_create = self.plan.access.capabilities.contains(&Capability::CreateBucket);
        if may_create && findings[0].reading == Reading::BucketMissing {
            let probe = Probe::identity(self.family.has_sts);
            findings.push(Finding { reading: self.certainly(&probe).await, probe });
        }
        findings
    }

    async fn first(&self, probe: &Probe) -> Finding {
        let finding = self.find(probe).await;
        let bucket = self.plan.access.bucket.as_str();
        let may_be_missing = self.family.hides_missing_buckets && matches!(finding.reading, Reading::Refused(_));
        if may_be_missing && bucket_is_missing(self.reach, self.family, bucket).await == Some(true) {
            return found(probe, Reading::BucketMissing);
        }
        finding
    }

    async fn try_object(&self, probes: &[Probe], findings: &mut Vec<Finding>) {
        let of = |verb| probes.iter().find(|probe| stage(probe) == Stage::Object && probe.verb == verb);
        if let Some(damaged) = of(Verb::PutDamaged) {
            let finding = self.find(damaged).await;
            // A store that does not look at digests has written; where objects are written anyhow, it will be found.
            if finding.reading == Reading::Done && self.plan.depth == Depth::Quiet {
                self.client.send(&Probe { verb: Verb::Delete, ..damaged.clone() }).await;
            }
            findings.push(finding);
        }
        let (Some(put), Some(get), Some(delete)) = (of(Verb::Put), of(Verb::Get), of(Verb::Delete)) else { return };
        let written = self.put(put, get, delete).await;
        // An upload without an answer may have been done all the same; or somebody else's object is there.
        let is_there =
            written.is_allowed() || (written == Reading::Unreachable && self.certainly(get).await.is_allowed());
        findings.push(found(put, written));
        for probe in [Some(get), of(Verb::SetAcl)].into_iter().flatten() {
            findings.push(if is_there { self.find(probe).await } else { self.skip(probe, Skipped::NothingThere) });
        }
        findings.push(if is_there {
            found(delete, self.certainly(delete).await)
        } else {
            self.skip(delete, Skipped::NothingThere)
        });
    }

    /// Writes the probe object, after removing what a broken proof left. What is not ours stays.
    async fn put(&self, put: &Probe, get: &Probe, delete: &Probe) -> Reading {
        let reading = self.ask(put).await;
        if reading == Reading::Taken && self.ask(get).await.is_allowed() && self.ask(delete).await.is_allowed() {
            return self.ask(put).await;
        }
        reading
    }

    async fn try_upload(&self, probes: &[Probe], findings: &mut Vec<Finding>) {
        let of = |verb| probes.iter().find(|probe| stage(probe) == Stage::Upload && probe.verb == verb);
        if let Some(list) = of(Verb::ListUploads) {
            findings.push(found(list, self.list_uploads(list).await));
        }
        let (Some(start), Some(parts), Some(abort)) =
            (of(Verb::StartUpload), of(Verb::ListParts), of(Verb::AbortUpload))
        else {
            return;
        };
        if let Some(why) = self.reason_to_skip() {
            findings.extend([start, parts, abort].map(|probe| self.skip(probe, why)));
            return;
        }
        match self.client.start_upload(&start.at).await {
            Err(answer) => {
                findings.push(found(start, self.read(start, &answer)));
                findings.extend([parts, abort].map(|probe| self.skip(probe, Skipped::NothingThere)));
            }
            Ok(upload) => {
                findings.push(found(start, Reading::Allowed));
                findings.push(match self.reason_to_skip() {
                    Some(why) => self.skip(parts, why),
                    None => self.answered(parts, self.client.list_parts(&parts.at, &upload).await),
                });
                findings.push(self.answered(abort, self.client.abort_upload(&abort.at, &upload).await));
            }
        }
    }

    /// Lists uploads, and removes those of the probe object, which a broken proof left.
    async fn list_uploads(&self, list: &Probe) -> Reading {
        if let Some(why) = self.reason_to_skip() {
            return Reading::NotTried(why);
        }
        match self.client.list_uploads(&list.at).await {
            Err(answer) => self.read(list, &answer),
            Ok(left_behind) => {
                for upload in &left_behind {
                    let _ = self.client.abort_upload(&list.at, upload).await;
                }
                self.read(list, &Answer::Success)
            }
        }
    }

    async fn try_rest(&self, probes: &[Probe], findings: &mut Vec<Finding>) {
        let checks_digests = findings
            .iter()
            .any(|finding| finding.probe.is(Verb::PutDamaged, Expect::Works) && finding.reading == Reading::Allowed);
        let rest = probes.iter().filter(|probe| stage(probe) == Stage::Rest).map(|probe| async move {
            if probe.verb == Verb::PutDamaged && !checks_digests {
                return self.skip(probe, self.reason_to_skip().unwrap_or(Skipped::DigestUnchecked));
            }
            self.find(probe).await
        });
        let rest: Vec<_> = rest.collect();
        findings.extend(stream::iter(rest).buffered(AT_ONCE).collect::<Vec<_>>().await);
    }

    async fn find(&self, probe: &Probe) -> Finding {
        found(probe, self.ask(probe).await)
    }

    fn answered(&self, probe: &Probe, outcome: Result<(), Answer>) -> Finding {
        found(probe, self.read(probe, &outcome.err().unwrap_or(Answer::Success)))
    }

    /// Not because of what is wrong with it, if something else is.
    fn skip(&self, probe: &Probe, why: Skipped) -> Finding {
        found(probe, Reading::NotTried(self.reason_to_skip().unwrap_or(why)))
    }

    async fn ask(&self, probe: &Probe) -> Reading {
        match self.reason_to_skip() {
            Some(why) => Reading::NotTried(why),
            None => self.certainly(probe).await,
        }
    }

    /// Asks even when it is late or pointless: what was made has to be removed.
    async fn certainly(&self, probe: &Probe) -> Reading {
        let answer = self.client.send(probe).await;
        if probe.is(Verb::GetMissing, Expect::Works) && answer == Answer::Success {
            self.remove_left(probe).await;
        }
        self.read(probe, &answer)
    }

    /// Removes the probe object, which a broken proof left: no proof that writes may follow any more. What is not ours stays.
    async fn remove_left(&self, probe: &Probe) {
        if self.client.send(&Probe { verb: Verb::Get, ..probe.clone() }).await == Answer::Success {
            self.client.send(&Probe { verb: Verb::Delete, ..probe.clone() }).await;
        }
    }

    fn reason_to_skip(&self) -> Option<Skipped> {
        if self.stopped.load(Ordering::Relaxed) {
            Some(Skipped::Stopped)
        } else {
            (Instant::now() >= self.end).then_some(Skipped::OutOfTime)
        }
    }

    fn read(&self, probe: &Probe, answer: &Answer) -> Reading {
        let reading = self.family.read(probe.verb, answer);
        tracing::debug!(%probe, ?reading, "probed");
        if reading.ends_the_proof() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        reading
    }
}

fn found(probe: &Probe, reading: Reading) -> Finding {
    Finding { probe: probe.clone(), reading }
}
