/* page: docs/config.md, written from the schema: how a config is read, a full example with
 * comments, and a table of keys for each section.
 */
#ifndef LAP_TRAINER_CONFIG_PAGE_H
#define LAP_TRAINER_CONFIG_PAGE_H

#include <stdio.h>

void lap_config_page_print(FILE *out);

#endif
