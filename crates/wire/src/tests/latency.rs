//! What a call costs. Says it, and holds it only to what a debug build on a busy machine can keep.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, by name"]
async fn what_a_call_costs() {
    let (deployment, _fake, _served, keys, records) = gateway().await;
    let (deployment, keys, records) = (Arc::new(deployment), Arc::new(keys), Arc::new(records));
    for callers in [1u32, 32] {
        for reads in [false, true] {
            let each = 4_000 / callers;
            let began = std::time::Instant::now();
            let mut tasks = Vec::new();
            for _ in 0..callers {
                let (deployment, keys, records) = (Arc::clone(&deployment), Arc::clone(&keys), Arc::clone(&records));
                tasks.push(tokio::spawn(async move {
                    for _ in 0..each {
                        let (bearer, request) = (bearer(), deployment.request());
                        if reads {
                            records.read(&call(&bearer, &request), &scan(1)).await.map(|_| ()).unwrap();
                        } else {
                            keys.release(&call(&bearer, &request)).await.map(|_| ()).unwrap();
                        }
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(each * callers);
            println!("{callers} callers, reads {reads}: {micros:.1} µs a call");
        }
    }
}
