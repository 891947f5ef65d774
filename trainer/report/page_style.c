#include "trainer/report/page_style.h"

#include "trainer/report/svg.h"

/* One column of text, pictures beside each other as many as fit; what is wide scrolls within its
 * own box; on paper nothing scrolls. */
static const char RULES[] =
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 Charter,\"Bitstream "
    "Charter\",\"Source Serif 4\",Georgia,Cambria,serif}\n"
    "main{max-width:72rem;margin:0 auto;padding:2.5rem 1.25rem 4rem;overflow-wrap:break-word}\n"
    "h1{font-size:2.1rem;line-height:1.15;margin:0 0 .4rem;font-weight:600;letter-spacing:-.01em;"
    "overflow-wrap:anywhere}\n"
    "h2{font-size:1.3rem;margin:3rem 0 .6rem;font-weight:600;border-top:1px solid var(--rule);"
    "padding-top:1rem}\n"
    "h3{font-size:1rem;margin:1.6rem 0 .3rem;font-weight:600}\n"
    "p{max-width:42rem;margin:.5rem 0}\n"
    ".lede{font-size:1.12rem}.note,figcaption{color:var(--quiet);font-size:.9rem}\n"
    ".smoke{background:var(--alarm);color:var(--paper);font:600 .95rem/1.4 "
    "system-ui,sans-serif;padding:.6rem "
    "1.25rem;text-align:center;position:sticky;top:0;z-index:1}\n"
    "ul.warnings{max-width:42rem;margin:1rem 0;padding:.2rem 0 .2rem 1rem;list-style:none;"
    "border-left:3px solid var(--alarm)}\n"
    "ul.warnings li{margin:.35rem 0}ul.warnings b{color:var(--alarm)}\n"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));"
    "gap:1.6rem 2.4rem;margin:1.2rem 0}\n"
    "figure{margin:0;min-width:0}figure svg{display:block;width:100%;max-width:30rem;height:auto}\n"
    "figcaption{margin:.3rem 0 0;max-width:30rem}\n"
    ".scroll{overflow-x:auto;margin:.6rem 0 1rem;max-width:100%}\n"
    "table{border-collapse:collapse;font:.86rem/1.35 system-ui,-apple-system,\"Segoe "
    "UI\",Roboto,Arial,sans-serif;font-variant-numeric:tabular-nums lining-nums}\n"
    "th,td{padding:.32rem .8rem .32rem 0;text-align:left;vertical-align:top}\n"
    "th{font-weight:600;color:var(--quiet);border-bottom:1px solid "
    "var(--ink);vertical-align:bottom;"
    "white-space:nowrap}\n"
    "td{border-bottom:1px solid var(--rule)}\n"
    "td.n,th.n{text-align:right;white-space:nowrap}td.i{white-space:nowrap}\n"
    "code{font:.84em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}\n"
    ".verdict{font-weight:600}.alarm{color:var(--alarm)}\n"
    ".key{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.45em}\n"
    "dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1.2rem;"
    "font-size:.9rem;max-width:60rem}\n"
    "dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}\n"
    "details{margin:.6rem 0}summary{cursor:pointer;color:var(--quiet)}\n"
    "@media (max-width:34rem){main{padding:1.5rem 1rem 3rem}h1{font-size:1.6rem}"
    "dl{grid-template-columns:minmax(0,1fr);gap:0}dd{margin-bottom:.5rem}}\n"
    "@media print{body{font-size:10pt}main{max-width:none;padding:0}.scroll{overflow:visible}"
    "table{font-size:7.6pt}th,td{padding-right:.5rem}h2{break-after:avoid}"
    "figure,tr,ul.warnings li{break-inside:avoid}.smoke{position:static}"
    ".pictures{grid-template-columns:1fr 1fr;gap:1rem 1.6rem}"
    "td.n,td.i{white-space:nowrap}summary{display:none}}\n"
    "@page{margin:16mm 14mm}\n";

void lap_page_style(FILE *out) {
  lap_svg_style(out);
  fputs(RULES, out);
  for (int i = 0; i < LAP_COLORS; ++i) fprintf(out, ".key.k%d{background:var(--c%d)}", i, i);
  fputs("\n", out);
}
