/* table: aligned text tables, for stdout and reports. */
#ifndef LAP_TRAINER_CLI_TABLE_H
#define LAP_TRAINER_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

typedef struct lap_table lap_table;
/* `headers` [columns] are copied. A column is aligned right where all its cells look like numbers.
 */
lap_table *lap_table_create(size_t columns, const char *const *headers);
/* `cells` [columns] are copied. */
void lap_table_add(lap_table *table, const char *const *cells);
void lap_table_print(const lap_table *table, FILE *out);
void lap_table_destroy(lap_table *table);

#endif
