/* wide: loops over reals compiled twice, also for processors with vectors of 512 bits.
 *
 * LAP_WIDE before a function that is such a loop: gcc makes one more copy of it and takes the one
 * for the processor when the program is loaded. Both are one source without reordering, so they
 * give the same bits: tests/system/test_same_bits_across_builds.py compares with clang, which makes
 * no such copy. A loop
 * under an OpenMP pragma is no such function: what it calls for a row is.
 */
#ifndef LAP_AUTOGRAD_KERNEL_WIDE_H
#define LAP_AUTOGRAD_KERNEL_WIDE_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX512F__)
#define LAP_WIDE __attribute__((target_clones("arch=x86-64-v4", "default")))
#else
#define LAP_WIDE
#endif

#endif
