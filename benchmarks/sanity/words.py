"""The texts of ``docs/scores-tested.md``."""

HEAD = """# Are the scores themselves any good?

Scores of fidelity and diversity are tests of samples, and can be tested: on data where the right answer is known.
Räisä, van Breugel and van der Schaar ("Position: All Current Generative Fidelity and Diversity Metrics are Flawed",
ICML 2025, arXiv 2505.22450) give 15 such checks, and found that none of the scores they tried passes all of them.
This page is the same test of the evaluator [`fidelity-diversity`](scores.md), as it is installed. `python -m
benchmarks.sanity` measures whatever `benchmarks/sanity.json` lacks, and writes this page.

## The checks

A check draws a real set and samples, and moves one thing from one end of a curve to the other. What must hold of the
scores is called after what it asks for:

- **purpose**: the score goes up and down as fidelity or diversity does;
- **hyperparameters**: it does not depend on how many samples one happens to draw;
- **data**: it does not depend on how many real vectors there are, from some number on;
- **bounds**: it is 1 where the two sets agree (or nothing is wrong with what it measures), and 0 where they have
  nothing in common;
- **invariance**: it does not depend on the units of the components.

Sets are of 1,000 vectors unless a check varies their number, in D = 1, 8 and 64 (spheres: 2, 16 and 128) unless it
needs other dimensions. The tolerances are the paper's: a score is 1, 0 or steady within 0.05; one that must fall or
rise does so by 0.2 or more, and is at its ends within 0.1 of its highest and lowest value.
"""

TABLE = """## The verdicts

T: passed, in all dimensions. F: failed, in one at least. L and H: passed, as a low or a high score of diversity,
where both are right: samples that spread too far may be called less diverse (low) or not (high). Sets are
standardised with the mean and the standard deviation of each component of the real set, as in the paper; where a
verdict is another one for the vectors as they are, it follows after a stroke. Verdicts are of the mean over {repeats}
repeats (the paper: 10); after an asterisk, single repeats alone do not all give the same one. R1 to R6 are
[rules](#rules). Given the same scores, the authors' own code gives the same 480 verdicts on the eight scores
(compared once).

The evaluator is that of `lsampler compare`, with its defaults (k = 5, balls without their surface) and in single
precision. It is given all vectors of both sets; usually it takes a random half of the train vectors, at most 2,000,
and as many samples. So users see sets of different sizes, as in `cube-samples` and `torus`, only when they draw too
few samples. The paper takes k = 3 for precision and recall, and counts the surface, so its table need not be equal to
this one.
"""

RULES = """## Rules

"Relative" means: divided by the same score of other real vectors, as many as the real set has, and at most 1. That is
the row *other real vectors* of a comparison.

- R1: the smaller of the symmetric and the clipped score. R2: the smaller of the plain one (precision, recall) and the
  clipped one.
- R3: the symmetric score, relative. R4: the plain one, relative.
- R5: the smaller of R3 and the clipped score. R6: the smaller of R4 and the clipped score.

They are computed from the recorded scores, repeat by repeat. R3 to R6 were added after a look at the verdicts on the
first repeat, and all were tried on the checks that they are counted on: their counts are optimistic. On standardised
sets, they differ from the single scores in this:
"""

CONCLUSIONS = """## What to conclude

- **No score passes everything, and no rule does.** Of single scores, clipped density and clipped coverage pass most.
- **A tolerance of 0.05 is about two standard deviations** of many scores of 1,000 vectors: where the sets agree,
  those of the clipped scores are 0.01 to 0.03, of precision in D = 64 0.025, of density there 0.05. Hence the
  asterisks. The mean of ten repeats, as in the paper, would move a few verdicts again; a difference of one or two
  passes means nothing. Your own comparison is one repeat.
- **Precision, recall and the symmetric pair are not 1 for perfect samples**: in D = 8 they are 0.94, in D = 64 0.72.
  Read them relative to the row *other real vectors*. That alone repairs most of their failed bounds (R3, R4).
- **Precision** is full for samples shrunk to the centre of a sphere in 128 dimensions, and nearly so for samples
  around a single real outlier. **Recall** mirrors it: samples on a sphere that is too large, or one outlier among the
  samples, raise it to 1.
- **Symmetric precision** is the only score of fidelity that sees both too small and too large spheres. But it falls
  when samples are too close to each other, to 0.4 where nine of ten modes are missing and to 0 where samples are
  narrow, although each of them is right. A low value may mean too little diversity, and in D = 64 an outlier among
  the real vectors still fools it.
- **Symmetric recall** sees the spheres and the outliers. It falls somewhat, to 0.85, where half of the samples are
  not real.
- **Density** has no upper bound: narrow samples get 190 in D = 64, shrunk spheres 200 in D = 128. Do not use it
  alone.
- **Clipped density** is 1 for real vectors and 0 far away in nearly all checks, and hardly falls where modes are
  missing. Samples shrunk to the centre of a sphere in 128 dimensions get 1, and in D = 64 samples around one real
  outlier still get half: the median radius, to which balls are clipped, is longer than their distance from it.
- **Coverage** does not see shrunk samples either, and grows with the number of samples. **Clipped coverage** falls in
  proportion to bad samples, as it is meant to: the check `invention` calls that a failure, since bad samples take
  nothing from diversity. Both need sets of equal size, which the evaluator takes.
- **Shrunk samples**: look at recall or symmetric recall beside any score of fidelity. Neither precision nor a clipped
  score sees them in many dimensions.
- **For diversity, R5 is the best summary**: the smaller of the relative symmetric recall and clipped coverage. It
  passes whatever symmetric recall or clipped coverage passes, and the same number in each repeat. It takes the bad
  samples of `invention` for missing diversity, and needs sets of equal size.
- **For fidelity there is no such rule.** Joining two scores gains nothing on clipped density, because symmetric
  precision falls where samples are too close to each other, and no other score falls where samples shrink. Read
  clipped density, which fails at shrunk samples, with symmetric recall beside it, which does not.
- **What none of them sees**: two cubes in 64 dimensions that share a fifth of their volume (all scores of sets of one
  size are above 0.8); one component of 1,001 that clearly differs; numbers that are rounded finely; and anything in
  components with small units, unless sets are standardised. The evaluator does not standardise: vectors are compared
  as they are, so in a latent space whose components differ much in spread, the small ones hardly count. The number of
  vectors matters too: compare scores only of sets of one size.
"""

CONTROL = """## The control

Precision, recall, density and coverage were computed again by their authors' own package `prdc` with the same k, for
all points of the first repeat with at most 2,000 vectors per set, both standardised and as they are. To four
decimals:
"""

KERNELS = """## The kernel distance

[`kernel-distance`](scores.md) has no direction, so it is not in the tables above: it only has to see whether two sets
differ. Its squared discrepancy and p-value at the first point of each curve, where both sets agree (in the middle
where they nowhere do), and at the last, for the vectors of the first repeat; at most 1,000 of each set, and as many
of both. It whitens the vectors itself. The smallest possible p-value is 0.005.

The p-value is large where the sets agree and 0.005 where they differ, in all dimensions that were tried, except for
rounding, which it never sees. The vectors are whitened by the moments of both sets together: the moments of the real
vectors alone fit these better than any samples, and with few of them per dimension a perfect sample would be rejected.
"""

POWER = """## What the strong judge sees

[`strong-classifier`](scores.md#classifiers) is tested on shifts of known size. Real vectors are of a normal of D = 32
with one correlation of 0.5, in units of its standard deviations; Student's t has the same variances. The judge learns
from so many train vectors, and twice as many draws, and judges 1,000 held-out vectors against 1,000 draws. Shown are
the mean area under the ROC curve of {repeats} repeats, the mean half-width of its 95 % interval, and in how many
repeats the interval lies above 0.5; bold if in all. "Best possible" is the area of the ratio of the true densities.
`python -m benchmarks.sanity --repeats 0` measures what is missing of this table, and writes the page again.
"""

POWER_CONCLUSIONS = """\
- **From 1,000 train vectors on it sees** a spread 5 % wider, the radii of Student's t with nu = 30, one correlation
  of 0.5 dropped, and one mean moved by 0.5 standard deviations.
- **It does not see** one mean of 32 moved by 0.1 standard deviations, where even the true densities reach 0.53 only.
  One moved by 0.25 it sees from 9,000 train vectors in both repeats, and from fewer in one of two.
- **It comes close to what is possible** for spreads and radii: the squares and the radius are among its features. For
  one correlation and one mean it does so from 9,000 train vectors.
- **It does not see copies of train vectors**, whether their noise is small or not: it is asked to tell draws from
  held-out vectors, and copies are distributed as these are. For copies there are `novelty` and the gap of
  `feature-likelihood`.
- **Alarms without a cause**: of the 18 intervals for new draws and for copies, 2 lie above 0.5. For one classifier
  alone, 1 in 40 would be expected; the larger area of two classifiers is a little above 0.5 by chance.
- An interval that holds 0.5 says that the judge has not seen a shift. This table says which ones it may have missed.
"""

ABOUT_VALUES = """## The values behind it

Scores of standardised sets, means over the repeats, at the first point of each curve, where both sets agree (in the
middle where they nowhere do), and at the last.
"""
