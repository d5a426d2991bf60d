//! Layers over images: values against the sums that define them, gradients against differences, images against their
//! neighbours.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::tests::{check_gradient, close, random};
use super::*;

fn windows() -> Vec<ImageWindow> {
    let window =
        |rows, cols, channels, size, stride, padding| ImageWindow { rows, cols, channels, size, stride, padding };
    vec![
        window(5, 7, 3, (3, 3), 1, 1),
        window(8, 6, 2, (3, 3), 2, 1),
        window(9, 9, 3, (7, 7), 2, 3),
        window(6, 6, 4, (2, 2), 2, 0),
        window(7, 5, 2, (1, 1), 2, 0),
        window(4, 4, 5, (1, 1), 1, 0),
        window(3, 3, 2, (3, 3), 1, 0),
        window(7, 6, 17, (3, 2), 1, 1),
        // More than one part of windows at a time.
        window(40, 37, 40, (7, 7), 1, 3),
    ]
}

fn node(values: &[f32], cols: usize) -> Node {
    Node::constant(Array::new(values.to_vec(), values.len() / cols, cols))
}

/// Calls `tap(place, tap, pixel)` for every tap that sees the image.
fn each_tap(window: &ImageWindow, mut tap: impl FnMut(usize, usize, usize)) {
    let (rows, cols) = window.out().unwrap();
    for place in 0..rows * cols {
        for at in 0..window.size.0 * window.size.1 {
            let y = (place / cols * window.stride + at / window.size.1).checked_sub(window.padding);
            let x = (place % cols * window.stride + at % window.size.1).checked_sub(window.padding);
            if let (Some(y), Some(x)) = (y.filter(|&y| y < window.rows), x.filter(|&x| x < window.cols)) {
                tap(place, at, y * window.cols + x);
            }
        }
    }
}

fn conv(window: ImageWindow, outputs: usize, bias: bool) -> (Conv2d, Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let weight = random(&mut rng, outputs * window.channels * window.size.0 * window.size.1);
    let values = random(&mut rng, outputs);
    (Conv2d::new(weight.clone(), bias.then(|| values.clone()), outputs, window).unwrap(), weight, values)
}

#[test]
fn convolutions_are_sums_over_their_windows() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    for window in windows() {
        let outputs = 6;
        let (layer, weight, bias) = conv(window, outputs, true);
        let (rows, cols) = window.out().unwrap();
        let taps = window.size.0 * window.size.1;
        let image = random(&mut rng, window.rows * window.cols * window.channels);
        let mut oracle: Vec<f64> = bias.iter().map(|&b| f64::from(b)).cycle().take(rows * cols * outputs).collect();
        each_tap(&window, |place, tap, pixel| {
            for output in 0..outputs {
                for channel in 0..window.channels {
                    let w = weight[(output * window.channels + channel) * taps + tap];
                    oracle[place * outputs + output] += f64::from(w * image[pixel * window.channels + channel]);
                }
            }
        });
        let oracle: Vec<f32> = oracle.into_iter().map(|x| x as f32).collect();
        let y = layer.forward(&mut Tape::new(&(), false), &node(&image, window.channels)).unwrap();
        close(&format!("{window:?}"), y.value(), &oracle, 2e-5);
    }
}

#[test]
fn gradients_of_convolutions_are_those_of_central_differences() {
    for window in windows() {
        let (layer, ..) = conv(window, 5, false);
        let (rows, cols) = (2 * window.rows * window.cols, window.channels);
        check_gradient(&format!("{window:?}"), rows, cols, &|tape, x| layer.forward(tape, x).unwrap());
        let tanh = Activation::named("tanh").unwrap();
        check_gradient("activated", rows, cols, &|tape, x| layer.forward_activated(tape, x, tanh).unwrap());
    }
    let window = ImageWindow { rows: 5, cols: 4, channels: 3, size: (3, 3), stride: 1, padding: 1 };
    let (layer, ..) = conv(window, 3, true);
    check_gradient("residual", 20, 3, &|tape, x| {
        let inner = layer.forward(tape, x).unwrap();
        layer.forward_add(tape, &inner, x).unwrap()
    });
}

#[test]
fn depthwise_convolutions_are_sums_over_their_windows() {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    for (rows, cols, channels, size) in [(5, 4, 3, 3), (9, 12, 16, 7), (4, 15, 21, 5), (3, 3, 33, 7), (6, 7, 2, 1)] {
        let weight = random(&mut rng, channels * size * size);
        let bias = random(&mut rng, channels);
        let layer = Depthwise::new(&weight, bias.clone(), (rows, cols), size).unwrap();
        let window = ImageWindow { rows, cols, channels, size: (size, size), stride: 1, padding: size / 2 };
        let image = random(&mut rng, rows * cols * channels);
        let mut oracle: Vec<f32> = bias.repeat(rows * cols);
        each_tap(&window, |place, tap, pixel| {
            for channel in 0..channels {
                oracle[place * channels + channel] +=
                    weight[channel * size * size + tap] * image[pixel * channels + channel];
            }
        });
        let y = layer.forward(&mut Tape::new(&(), false), &node(&image, channels)).unwrap();
        close("depthwise", y.value(), &oracle, 2e-5);
        check_gradient("depthwise", 2 * rows * cols, channels, &|tape, x| layer.forward(tape, x).unwrap());
    }
}

#[test]
fn max_pools_are_the_largest_of_their_windows_and_send_gradients_there() {
    let mut rng = ChaCha8Rng::seed_from_u64(24);
    for window in windows().into_iter().filter(|window| window.padding * 2 <= window.size.0.min(window.size.1)) {
        let layer = MaxPool::new(window).unwrap();
        let (rows, cols) = window.out().unwrap();
        // A tenth's steps: many ties.
        let image: Vec<f32> = random(&mut rng, window.rows * window.cols * window.channels)
            .into_iter()
            .map(|x| (x * 5.0).round() / 5.0)
            .collect();
        let channels = window.channels;
        let mut best = vec![f32::NEG_INFINITY; rows * cols * channels];
        let mut from = vec![0; best.len()];
        each_tap(&window, |place, _, pixel| {
            for channel in 0..channels {
                if image[pixel * channels + channel] > best[place * channels + channel] {
                    best[place * channels + channel] = image[pixel * channels + channel];
                    from[place * channels + channel] = pixel * channels + channel;
                }
            }
        });
        let mut tape = Tape::new(&(), true);
        let x = tape.variable(Array::new(image.clone(), window.rows * window.cols, channels));
        let y = layer.forward(&mut tape, &x).unwrap();
        assert_eq!(y.value(), best, "{window:?}");
        let seed = random(&mut rng, best.len());
        let mut oracle = vec![0.0; image.len()];
        from.iter().zip(&seed).for_each(|(&from, seed)| oracle[from] += seed);
        close("max pool", &tape.backward(&y, &seed, &x).unwrap(), &oracle, 1e-6);
    }
}

/// An image's values and gradients are the same bits alone and among others.
#[test]
fn layers_over_images_do_not_see_their_neighbours() {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    for window in windows() {
        let (conv, ..) = conv(window, window.channels, true);
        let pool = MaxPool::new(ImageWindow { size: (2, 2), stride: 2, padding: 0, ..window }).unwrap();
        let weight = random(&mut rng, 49 * window.channels);
        let depthwise = Depthwise::new(&weight, vec![0.5; window.channels], (window.rows, window.cols), 7).unwrap();
        let size = window.rows * window.cols * window.channels;
        let images = random(&mut rng, 3 * size);
        let run = |images: &[f32]| {
            let mut tape = Tape::new(&(), true);
            let pixels = window.rows * window.cols;
            let x = tape.variable(Array::new(images.to_vec(), images.len() / window.channels, window.channels));
            let outputs = [
                conv.forward(&mut tape, &x).unwrap(),
                pool.forward(&mut tape, &x).unwrap(),
                depthwise.forward(&mut tape, &x).unwrap(),
                mean_rows(&mut tape, &x, pixels, 0).unwrap(),
            ];
            outputs.map(|y| {
                let gradient = tape.backward(&y, &vec![0.3; y.value().len()], &x).unwrap();
                (y.value().to_vec(), gradient)
            })
        };
        let together = run(&images);
        for image in 0..3 {
            let alone = run(&images[image * size..][..size]);
            for (layer, ((alone, own), (all, gradient))) in alone.iter().zip(&together).enumerate() {
                assert_eq!(alone, &all[image * alone.len()..][..alone.len()], "{window:?} layer {layer} of {image}");
                assert_eq!(own, &gradient[image * size..][..size], "{window:?} gradient {layer} of {image}");
            }
        }
    }
}

/// Rows move, zeros come between them, and the way back undoes it; gradients follow.
#[test]
fn arrangements_move_rows_there_and_back() {
    let arrangement = Arrangement::new(3, [Some(2), None, Some(0), None]).unwrap();
    let x = node(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1);
    let tape = &mut Tape::new(&(), false);
    let y = arrangement.forward(tape, &x, 2).unwrap();
    assert_eq!((y.value(), y.cols()), (&[3.0, 0.0, 1.0, 0.0, 6.0, 0.0, 4.0, 0.0][..], 2));
    let y = arrangement.forward(tape, &x, 1).unwrap();
    assert_eq!(arrangement.back().forward(tape, &y, 1).unwrap().value(), [1.0, 0.0, 3.0, 4.0, 0.0, 6.0]);
    check_gradient("arrange", 6, 5, &|tape, x| arrangement.forward(tape, x, 2).unwrap());
    check_gradient("arrange back", 8, 5, &|tape, x| arrangement.back().forward(tape, x, 3).unwrap());
    assert!(Arrangement::new(3, [Some(1), Some(1)]).is_err());
    assert!(Arrangement::new(3, [Some(3)]).is_err());
}
