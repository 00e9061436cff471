#!/usr/bin/env bash
# The README's first steps as one script, against a running `make run`: a partner with a rebate plan, a shop, stock,
# a signed Shopify order, and what becomes of it everywhere. Safe to run again: it uses new names each time.
set -euo pipefail
cd "$(dirname "$0")/.."
ORDERS=http://127.0.0.1:8101 PARTNERS=http://127.0.0.1:8102 STOCK=http://127.0.0.1:8103
REBATES=http://127.0.0.1:8104 INSIGHT=http://127.0.0.1:8105
RUN=$(date +%s)
NOW=$(date -u +%Y-%m-%dT%H:%M:%SZ) TODAY=$(TZ=UTC-8 date +%Y-%m-%d) MONTH=$(TZ=UTC-8 date +%Y-%m-01) # Shanghai is eight hours ahead
TOKEN=$(.venv/bin/qudao token ${QUDAO_DATA:+--data "$QUDAO_DATA"})

call() { # METHOD URL [JSON]: a command, with the key that makes repeating it harmless
  curl --fail-with-body -sS -X "$1" "$2" -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
    -H "idempotency-key: walkthrough-$RUN-$((++STEP))" ${3:+--data "$3"}
}
field() { python3 -c "import json,sys; print(json.load(sys.stdin)$1)"; }
STEP=0

echo "1. A partner, a plan of 5 % and 8 % from 1,000.00 net sales a month, and the contract that joins them"
PARTNER=$(call POST $PARTNERS/v1/partners "{\"code\":\"east-$RUN\",\"name\":\"East Tea Trading\",\"kind\":\"distributor\",\"effective_from\":\"2026-01-01T00:00:00Z\"}" | field '["partner_id"]')
call POST $REBATES/v1/plans "{\"code\":\"tea-$RUN\",\"name\":\"Tea 2026\"}" > /dev/null
call POST $REBATES/v1/plans/tea-$RUN/versions '{"valid_from":"2026-01-01","calendar":"month","currency":"CNY","shape":"marginal","tiers":[{"lower_minor":0,"rate_ppm":50000},{"lower_minor":100000,"rate_ppm":80000}]}' > /dev/null
call POST $REBATES/v1/plans/tea-$RUN/versions/1/activate > /dev/null
CONTRACT=$(call POST $PARTNERS/v1/contracts "{\"code\":\"c-$RUN\",\"partner_id\":\"$PARTNER\",\"valid_from\":\"2026-01-01T00:00:00+08:00\",\"time_zone\":\"Asia/Shanghai\",\"plan_codes\":[\"tea-$RUN\"]}" | field '["contract_id"]')
call POST $PARTNERS/v1/contracts/$CONTRACT/versions/1/approve > /dev/null

echo "2. A Shopify shop: connected, and bound to the partner"
SECRET=walkthrough-secret-$RUN
call POST $ORDERS/v1/connections "{\"platform\":\"shopify\",\"shop_id\":\"tea-$RUN.myshopify.com\",\"slug\":\"tea-$RUN\",\"secret\":\"$SECRET\"}" > /dev/null
call POST $PARTNERS/v1/shops/shopify/tea-$RUN.myshopify.com/bindings "{\"partner_id\":\"$PARTNER\",\"channel\":\"online\",\"valid_from\":\"2026-01-01T00:00:00+08:00\"}" > /dev/null

echo "3. An item and ten of it in stock"
call POST $STOCK/v1/items "{\"sku\":\"TEA-$RUN\",\"name\":\"绿茶 250 g\"}" > /dev/null
call POST $STOCK/v1/receipts "{\"lines\":[{\"sku\":\"TEA-$RUN\",\"quantity\":\"10\"}]}" > /dev/null

echo "4. A signed order: two tins at 100.00, a coupon of 20.00, freight 10.00, tax included"
BODY="{\"id\":$RUN,\"name\":\"#$RUN\",\"created_at\":\"$NOW\",\"processed_at\":\"$NOW\",\"updated_at\":\"$NOW\",\"currency\":\"CNY\",\"total_price\":\"190.00\",\"taxes_included\":true,\"financial_status\":\"paid\",\"line_items\":[{\"id\":1,\"sku\":\"TEA-$RUN\",\"title\":\"Green tea\",\"quantity\":2,\"price\":\"100.00\",\"discount_allocations\":[{\"amount\":\"20.00\"}],\"tax_lines\":[{\"price\":\"20.71\",\"rate\":0.13}]}],\"shipping_lines\":[{\"id\":2,\"title\":\"SF\",\"price\":\"10.00\"}]}"
SIGNATURE=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -binary | base64)
deliver() { curl --fail-with-body -sS -o /dev/null -w '   answered %{http_code}\n' "$ORDERS/webhooks/shopify/tea-$RUN" -H 'x-shopify-topic: orders/create' -H "x-shopify-hmac-sha256: $SIGNATURE" --data-binary "$BODY"; }
deliver

echo "5. A second later, everywhere the same"
sleep 1
ORDER=$(curl -sS -G $ORDERS/v1/orders -H "authorization: Bearer $TOKEN" --data-urlencode "platform_order_id=#$RUN" | field '["items"][0]["order_id"]')
call GET $ORDERS/v1/orders/$ORDER | field '["net_sales_minor"]' | sed 's/^/   net sales (minor units): /'
call GET $ORDERS/v1/orders/$ORDER/entries | python3 -c 'import json,sys; [print("   entry", e["kind"], e["line_kind"], e["quantity"], e["net_minor"]) for e in json.load(sys.stdin)["entries"]]'
call GET "$STOCK/v1/holds?order_id=$ORDER" | python3 -c 'import json,sys; [print("   hold", h["sku"], "committed", h["committed"], "short", h["short"]) for h in json.load(sys.stdin)["items"]]'
call GET "$REBATES/v1/statements/$PARTNER/tea-$RUN/$MONTH" | python3 -c 'import json,sys; s=json.load(sys.stdin); print("   statement: basis", s["basis_minor"], "rebate", s["rebate_minor"])'
call GET "$INSIGHT/v1/insight/kpis?from=$TODAY&to=$TODAY&partner_id=$PARTNER" | python3 -c 'import json,sys; f=json.load(sys.stdin)["items"][0]["figures"]; print("   insight: net sales", f["net_sales"]["value"], "rebate cost", f["rebate_cost"]["value"])'

echo "6. The same body again changes nothing"
deliver
sleep 1
call GET $ORDERS/v1/orders/$ORDER/entries | python3 -c 'import json,sys; print("   entries:", len(json.load(sys.stdin)["entries"]))'
