//! Channel: a bounded queue on which threads and tasks wait to send and to receive.

use mainstay::channel;
use std::thread;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, receiver) = channel(16);

    // A thread sends and blocks while the channel is full; a task receives and waits.
    let producer = thread::spawn(move || {
        for n in 1..=100 {
            sender.send_blocking(n).expect("the receiver is alive");
        }
    });
    let mut sum = 0;
    while let Ok(n) = receiver.recv().await {
        sum += n;
    }
    producer.join().expect("the producer does not panic");
    println!("received numbers with the sum {sum}; the channel closed with its last sender");
    assert_eq!(sum, 5050);

    // A batch moves many items with one wake-up and one claim of slots.
    let (sender, receiver) = channel(256);
    let mut items = (0..200).collect::<Vec<_>>().into_iter();
    sender.send_batch(&mut items).await.expect("the receiver is alive");
    let mut received = Vec::new();
    while received.len() < 200 {
        receiver.recv_batch(&mut received, 64).await.expect("the sender is alive");
    }
    println!("received {} items in batches of at most 64", received.len());
}
