/* angle_statistics: how far gradients of a target are from dense ones, from inner products alone.
 *
 * On each of B disjoint blocks of tokens there are D_i, the mean gradient of dense KD, and G_i,
 * that of the target. Of a drawn target H_i is G_i by another draw seed. With e_i = G_i - D_i:
 *
 *   angle          of G_i to D_i, mean over blocks; standard error of that mean
 *   cross          angle of G_i to D_j, i != j, mean over pairs: what is left of the target's angle
 *                  beside that of text; standard error by the jackknife over blocks
 *   bias_squared   mean of <e_i, e_j>, i != j: what the draws of different rows have in common
 *                  averages to 0, so it estimates |E e|^2 without bias, and may be negative;
 *                  standard error by the jackknife, which where there is no bias is about 1.4
 *                  times too large. bias: its root, 0 where it is negative
 *   error          root of the mean of |e_i|^2: bias and draws together
 *   draw_noise     root of the mean of |G_i - H_i|^2 / 2: the draws alone; 0 of what is not drawn
 *   norm           root of the mean of |D_i|^2
 *
 * Angles are in degrees. The control is the cross of D with itself: what other text alone does.
 */
#ifndef LAP_TRAINER_AUDIT_ANGLE_STATISTICS_H
#define LAP_TRAINER_AUDIT_ANGLE_STATISTICS_H

/* Inner products, row-major [blocks, blocks]. */
typedef struct {
  int blocks;
  const double *dense;  /* <D_i, D_j> */
  const double *cross;  /* <G_i, D_j> */
  const double *target; /* <G_i, G_j> */
  const double *apart;  /* [blocks] |G_i - H_i|^2; NULL: not drawn */
} lap_gradient_products;

typedef struct {
  double value, error; /* error: NAN with fewer than 3 blocks */
} lap_estimate;

typedef struct {
  lap_estimate angle, cross, bias_squared;
  double bias, error, draw_noise, norm;
} lap_angles;

/* At least 2 blocks. */
lap_angles lap_angles_of(const lap_gradient_products *products);
/* Of dense against dense on other blocks. */
lap_estimate lap_angle_control(const double *dense, int blocks);

#endif
