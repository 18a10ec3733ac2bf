/* The processor's own limit: fused multiply-adds per second in a register-only loop of the current
 * instruction set. */
#ifndef KERNELS_PEAK_H
#define KERNELS_PEAK_H

/* f32 GFLOP/s (multiply and add count two) of `threads` threads together; takes about 0.2 s. */
double peak_f32_gflops(int threads);

#endif
