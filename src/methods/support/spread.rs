//! How large standard errors are beside the scores that they are of.

/// The largest absolute number; 0 of none.
pub fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()))
}

/// Largest standard error ÷ largest absolute score; 0 without any error.
pub fn relative_error(errors: &[f64], scores: &[f64]) -> f64 {
    let error = largest(errors);
    if error == 0.0 { 0.0 } else { error / largest(scores) }
}
