/* page_style: the rules of report.html, with those of its pictures. */
#ifndef LAP_TRAINER_REPORT_PAGE_STYLE_H
#define LAP_TRAINER_REPORT_PAGE_STYLE_H

#include <stdio.h>

void lap_page_style(FILE *out);

#endif
