//! A file that is larger than what S3 takes in one piece, with base access alone.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use testbed::wait::wait_until;

use crate::{
    calls,
    place::{PREFIX, Place},
    releases, tiers,
    world::World,
};

const GIB: u64 = 1 << 30;
/// S3 takes 5 GiB in one piece.
const SIZE: u64 = 6 * GIB;
/// The stand-in keeps all parts in memory, and while it joins them, all of them twice.
const MEMORY: u64 = 2 * SIZE + 2 * GIB;
const DEADLINE: Duration = Duration::from_mins(15);

/// With the newest release, and with the options that everybody has.
pub async fn is_uploaded(world: Arc<World>) -> Result<()> {
    let free = memory("/proc/meminfo", "MemAvailable:")?;
    ensure!(free >= MEMORY, "this needs {} GiB of free memory, and there are {}", MEMORY / GIB, free / GIB);
    let release = releases::all().pop().context("no release")?;
    let mut place = Place::new(world, release, &tiers::ALL[0]).await?;
    place.furnish().await?;
    let file = place.local("sparse");
    fs::File::create(&file)?.set_len(SIZE)?;

    let begin = std::time::Instant::now();
    let mut upload = place.rclone.start(&["copy", &file.display().to_string(), "backup:"], &place.local("log"))?;
    wait_until("the upload to end", DEADLINE, || {
        let running = upload.is_running();
        async move {
            ensure!(!running, "it is still running");
            Ok(())
        }
    })
    .await?;
    let took = begin.elapsed();
    let printed = upload.printed();

    let key = format!("{PREFIX}sparse");
    let object = place.world.aws.s3.head_object().bucket(&place.bucket).key(key).send().await.context(printed)?;
    ensure!(object.content_length.and_then(|size| u64::try_from(size).ok()) == Some(SIZE), "it is not whole");
    let count = |wanted: &str| place.world.tls.calls(|call| calls::name(call) == wanted).len();
    ensure!(count("CreateMultipartUpload") == 1, "it was not uploaded in parts");
    let peak = memory(&format!("/proc/{}/status", place.world.stand_in), "VmHWM:")?;
    println!("6 GiB in {} parts: {} s; the stand-in took {} GiB", count("UploadPart"), took.as_secs(), peak / GIB);
    Ok(())
}

/// A line of a file of the kernel's, in bytes.
fn memory(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    let number: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(number << 10)
}
