use sim::{profile::Profile, tape::Tape, world::World};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let profile: Profile = args[1].parse().unwrap();
    let from: u64 = args[2].parse().unwrap();
    let to: u64 = args[3].parse().unwrap();
    let verbose = args.len() > 4;
    let mut world = World::new(profile);
    world.set_logging(verbose);
    let mut tape = Tape::from_seed(0);
    let start = std::time::Instant::now();
    let (mut ops, mut steps, mut crashes, mut images, mut sectors, mut torn, mut rec, mut failed) =
        (0, 0, 0, 0, 0, 0, 0, 0);
    for seed in from..to {
        tape.restart(seed);
        let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(&mut tape)));
        if verbose {
            for l in world.take_log() {
                println!("{}", l.what);
            }
        }
        match r {
            Ok(Ok(s)) => {
                ops += s.ops;
                steps += s.steps;
                crashes += s.crashes;
                images += s.crash_images;
                sectors += s.sectors_compared;
                torn += s.torn_rounds;
                rec += s.recovery_crashes;
            }
            Ok(Err(f)) => {
                println!("seed {seed}: {f}");
                failed += 1;
                if failed >= 5 {
                    break;
                }
            }
            Err(_) => {
                println!("seed {seed}: PANIC");
                world = World::new(profile);
                world.set_logging(verbose);
                failed += 1;
                if failed >= 5 {
                    break;
                }
            }
        }
    }
    let t = start.elapsed().as_secs_f64();
    let n = (to - from) as f64;
    println!(
        "{:.0} runs/s, ops/run {:.1} steps/run {:.1} crashes/run {:.2} images/run {:.2} sectors/run {:.0} torn {torn} rec {rec} failed {failed}",
        n / t,
        ops as f64 / n,
        steps as f64 / n,
        crashes as f64 / n,
        images as f64 / n,
        sectors as f64 / n
    );
    println!("unseen {:?}", ploop_core::verify::unseen());
}
