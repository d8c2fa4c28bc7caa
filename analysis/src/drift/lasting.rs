//! How long the periods of a reference resemble the periods after them.
//!
//! Orders of periods are equally likely only if periods are independent. If each resembles the one before it, a run of far periods is no
//! rarity, and several periods count as one. How many is estimated from the reference: the correlation ρ of the periods' shares with
//! those of the next period, as of an autoregressive process, in which (1 + ρ) / (1 − ρ) periods count as one (Bayley and
//! Hammersley, 1946). A permutation test decides whether ρ is more than chance. Seasons, which repeat at known lags, are removed first.

use crate::noise::Noise;

/// Random orders of the permutation test, and the chance below which periods resemble each other.
const ORDERS: usize = 199;
const CHANCE: f64 = 0.1;
const SEED: u64 = 0x006c_6173_7469_6e67;
/// Correlation above which periods hardly change at all.
const MOST: f64 = 0.98;

/// How many periods count as one: 1 where they are independent. `periods` are in order, each with its number and its shares; `seasons`
/// are the lags at which they may repeat.
pub(super) fn lasting(periods: &[(i64, Vec<f64>)], seasons: &[usize]) -> f64 {
    let count = periods.len();
    let numbers: Vec<i64> = periods.iter().map(|(number, _)| *number).collect();
    let mut shares: Vec<Vec<f64>> = periods.iter().map(|(_, shares)| shares.clone()).collect();
    centre(&mut shares, |_| 0);
    let mut products = products(&shares);
    let usual: Vec<usize> = (0..count).collect();
    let fits = seasons.iter().filter(|season| **season > 1 && 2 * **season <= count);
    let repeats = fits.map(|season| (repeated(&products, &numbers, *season), *season));
    let season = repeats.max_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((repeated, season)) = season
        && repeated >= correlation(&products, &usual)
        && repeated > 0.0
    {
        let phases: Vec<usize> =
            numbers.iter().map(|number| number.rem_euclid(season as i64) as usize).collect();
        centre(&mut shares, |place| phases[place]);
        products = self::products(&shares);
    }
    let found = correlation(&products, &usual);
    let (mut noise, mut order) = (Noise::new(SEED), usual);
    let beyond = (0..ORDERS).filter(|_| {
        noise.shuffle(&mut order);
        correlation(&products, &order) >= found
    });
    let chance = (1 + beyond.count()) as f64 / (1 + ORDERS) as f64;
    if found <= 0.0 || chance > CHANCE {
        return 1.0;
    }
    // Of few periods it is estimated too low (Marriott and Pope, 1954).
    let unbiased = (found + (1.0 + 3.0 * found) / count as f64).min(MOST);
    (1.0 + unbiased) / (1.0 - unbiased)
}

/// Takes from each period the mean of those of its group.
fn centre(shares: &mut [Vec<f64>], group: impl Fn(usize) -> usize) {
    let groups = (0..shares.len()).map(&group).max().map_or(0, |most| most + 1);
    let width = shares.first().map_or(0, Vec::len);
    let mut sums = vec![(0.0, vec![0.0; width]); groups];
    for (place, own) in shares.iter().enumerate() {
        let (count, sum) = &mut sums[group(place)];
        *count += 1.0;
        sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    for (place, own) in shares.iter_mut().enumerate() {
        let (count, sum) = &sums[group(place)];
        own.iter_mut().zip(sum).for_each(|(own, sum)| *own -= sum / count);
    }
}

/// The products of each period with each.
fn products(shares: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let product = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum();
    shares.iter().map(|a| shares.iter().map(|b| product(a, b)).collect()).collect()
}

/// The correlation of each period with the next, in this order.
fn correlation(products: &[Vec<f64>], order: &[usize]) -> f64 {
    let next: f64 = order.windows(2).map(|pair| products[pair[0]][pair[1]]).sum();
    let all: f64 = products.iter().enumerate().map(|(place, own)| own[place]).sum();
    if all > 0.0 { next / all } else { 0.0 }
}

/// The correlation of periods that are a season apart.
fn repeated(products: &[Vec<f64>], numbers: &[i64], season: usize) -> f64 {
    let (mut apart, mut pairs, mut own) = (0.0, 0.0, 0.0);
    for (place, number) in numbers.iter().enumerate() {
        own += products[place][place];
        if let Ok(other) = numbers.binary_search(&(number + season as i64)) {
            apart += products[place][other];
            pairs += 1.0;
        }
    }
    if own > 0.0 && pairs > 0.0 { apart / pairs / (own / numbers.len() as f64) } else { 0.0 }
}
