/* fuzz: what the harnesses share.
 *
 * A harness is one file with fuzz_one: it gives the bytes to one parser, uses what the parser
 * accepts as the program would, and lets go of everything. libFuzzer finds crashes and large
 * allocations, the sanitizers what is wrong in memory, fuzz.c what takes longer than a second;
 * where what was accepted must have a property, the harness checks it with FUZZ_REQUIRE.
 * scripts/fuzz builds and runs them.
 */
#ifndef LAP_TESTS_FUZZ_FUZZ_H
#define LAP_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Of each harness: one execution. */
void fuzz_one(const uint8_t *bytes, size_t count);

/* The path of a file in TMPDIR that holds these bytes, for parsers that take a path (HDF5 takes
 * none of /proc/self/fd). The file and the text of its path live until the next call. */
const char *fuzz_file(const uint8_t *bytes, size_t count);

/* Ends the process, which libFuzzer reports together with the input, where the condition is false.
 */
#define FUZZ_REQUIRE(condition) fuzz_require((condition), #condition, __FILE__, __LINE__)
void fuzz_require(int holds, const char *condition, const char *file, int line);

#endif
