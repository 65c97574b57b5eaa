// What a dashboard may hold, in Grafana's own types. .ci/dashboards puts the
// files of deploy/grafana behind this, as constants of type Board, and lets tsc
// judge them: a key that Grafana does not know, or a value that it would not
// take, does not compile. Where Grafana's types say "anything", as for targets
// and overrides, they are narrowed to what the boards use.
import type {
  AnnotationQuery, Dashboard, FieldConfig, FieldConfigSource, GraphFieldConfig, Panel, RowPanel, TableFieldOptions,
} from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TableOptions } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as GraphOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// In JSON the values of enums stand for them.
type Literal<T> = T extends string ? `${T}` : T extends (infer U)[] ? Literal<U>[] : T extends object ? { [K in keyof T]: Literal<T[K]> } : T;

interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  format?: 'table';
  range?: true;
  instant?: true;
}

type Property<Custom> =
  | { [K in keyof FieldConfig]-?: { id: K; value: FieldConfig[K] } }[keyof FieldConfig]
  | { [K in keyof Custom & string]-?: { id: `custom.${K}`; value: Custom[K] } }[keyof Custom & string];

interface Override<Custom> {
  matcher: { id: 'byName' | 'byRegexp'; options: string };
  properties: Property<Custom>[];
}

type Transformation =
  | { id: 'merge'; options: {} }
  | { id: 'organize'; options: { excludeByName?: Record<string, boolean>; indexByName?: Record<string, number>; renameByName?: Record<string, string> } };

interface Of<Type, Options, Custom> extends Omit<Panel, 'type' | 'targets' | 'options' | 'fieldConfig' | 'transformations'> {
  type: Type;
  targets: Target[];
  options: Options;
  transformations?: Transformation[];
  fieldConfig: { defaults: Omit<FieldConfig, 'custom'> & { custom?: Custom }; overrides: Override<Custom>[] };
}

type Shown =
  | Of<'stat', Partial<StatOptions>, {}>
  | Of<'timeseries', GraphOptions, GraphFieldConfig>
  | Of<'table', Partial<TableOptions>, Partial<TableFieldOptions>>;

interface Annotation extends Omit<AnnotationQuery, 'target'> {
  target: { refId: string; expr: string; interval?: string };
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
}

type Board = Literal<
  Omit<Dashboard, 'panels' | 'annotations'> & {
    panels: (Shown | (Omit<RowPanel, 'panels'> & { panels: Shown[] }))[];
    annotations: { list: Annotation[] };
  }
>;
