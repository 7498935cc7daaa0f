//! Oneshot: send one value to a waiting thread or task.

use mainstay::oneshot;
use std::thread;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, receiver) = oneshot();
    let worker = thread::spawn(move || sender.send(6 * 7).expect("the receiver waits"));
    println!("the task received {}", receiver.await.expect("the sender sends"));
    worker.join().expect("the worker does not panic");

    // Dropping the sender closes the pair: the receiver gets an error and does not wait forever.
    let (sender, receiver) = oneshot::<u32>();
    drop(sender);
    println!("without a sender: {}", receiver.recv_blocking().unwrap_err());
}
