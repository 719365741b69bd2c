//! How often an AVP may occur in a command or in a group, for those this crate reads or writes.
//!
//! Taken from RFC 6733 5 to 8, RFC 8506 3 and 8 and TS 32.299 6.4. AVPs that a grammar does not name may occur as often
//! as they like, which is the `*[AVP]` that ends all of them.

#![allow(clippy::needless_update, reason = "some grammars name all three lists, others leave one out")]

use super::{AvpCode, Grammar};
use crate::header::CommandCode;

macro_rules! grammars {
    (
        commands { $($request:ident $command:ident { $($c_list:ident: $($c_avp:ident)+;)* })* }
        groups { $($group:ident { $($g_list:ident: $($g_avp:ident)+;)* })* }
    ) => {
        /// The grammar of a command, `None` when it is not one of ours.
        pub(super) fn of_command(command: CommandCode, request: bool) -> Option<&'static Grammar> {
            $(if command == CommandCode::$command && request == grammars!(@request $request) {
                static GRAMMAR: Grammar =
                    Grammar { $($c_list: &[$(AvpCode::$c_avp),+],)* ..Grammar::EMPTY };
                return Some(&GRAMMAR);
            })*
            None
        }

        /// The grammar of a Grouped AVP, `None` when its members are not counted.
        pub(super) fn of_group(group: AvpCode) -> Option<&'static Grammar> {
            match group {
                $(AvpCode::$group => {
                    static GRAMMAR: Grammar =
                        Grammar { $($g_list: &[$(AvpCode::$g_avp),+],)* ..Grammar::EMPTY };
                    Some(&GRAMMAR)
                })*
                _ => None,
            }
        }
    };
    (@request request) => { true };
    (@request answer) => { false };
}

grammars! {
    commands {
        request CAPABILITIES_EXCHANGE {
            one: ORIGIN_HOST ORIGIN_REALM VENDOR_ID PRODUCT_NAME;
            some: HOST_IP_ADDRESS;
            optional: ORIGIN_STATE_ID FIRMWARE_REVISION;
        }
        answer CAPABILITIES_EXCHANGE {
            one: RESULT_CODE ORIGIN_HOST ORIGIN_REALM VENDOR_ID PRODUCT_NAME;
            some: HOST_IP_ADDRESS;
            optional: ORIGIN_STATE_ID ERROR_MESSAGE FAILED_AVP FIRMWARE_REVISION;
        }
        request DEVICE_WATCHDOG {
            one: ORIGIN_HOST ORIGIN_REALM;
            optional: ORIGIN_STATE_ID;
        }
        answer DEVICE_WATCHDOG {
            one: RESULT_CODE ORIGIN_HOST ORIGIN_REALM;
            optional: ERROR_MESSAGE FAILED_AVP ORIGIN_STATE_ID;
        }
        request DISCONNECT_PEER {
            one: ORIGIN_HOST ORIGIN_REALM DISCONNECT_CAUSE;
        }
        answer DISCONNECT_PEER {
            one: RESULT_CODE ORIGIN_HOST ORIGIN_REALM;
            optional: ERROR_MESSAGE FAILED_AVP;
        }
        request CREDIT_CONTROL {
            one: SESSION_ID ORIGIN_HOST ORIGIN_REALM DESTINATION_REALM AUTH_APPLICATION_ID SERVICE_CONTEXT_ID
                CC_REQUEST_TYPE CC_REQUEST_NUMBER;
            optional: DESTINATION_HOST USER_NAME CC_SUB_SESSION_ID ACCT_MULTI_SESSION_ID ORIGIN_STATE_ID
                EVENT_TIMESTAMP SERVICE_IDENTIFIER TERMINATION_CAUSE REQUESTED_SERVICE_UNIT REQUESTED_ACTION
                AOC_REQUEST_TYPE MULTIPLE_SERVICES_INDICATOR CC_CORRELATION_ID USER_EQUIPMENT_INFO
                USER_EQUIPMENT_INFO_EXTENSION OC_SUPPORTED_FEATURES SERVICE_INFORMATION;
        }
        answer CREDIT_CONTROL {
            one: SESSION_ID RESULT_CODE ORIGIN_HOST ORIGIN_REALM AUTH_APPLICATION_ID CC_REQUEST_TYPE
                CC_REQUEST_NUMBER;
            optional: EXPERIMENTAL_RESULT USER_NAME CC_SESSION_FAILOVER CC_SUB_SESSION_ID ACCT_MULTI_SESSION_ID
                ORIGIN_STATE_ID EVENT_TIMESTAMP GRANTED_SERVICE_UNIT COST_INFORMATION LOW_BALANCE_INDICATION
                REMAINING_BALANCE FINAL_UNIT_INDICATION QOS_FINAL_UNIT_INDICATION CHECK_BALANCE_RESULT
                CREDIT_CONTROL_FAILURE_HANDLING DIRECT_DEBITING_FAILURE_HANDLING VALIDITY_TIME OC_SUPPORTED_FEATURES
                OC_OLR REDIRECT_HOST_USAGE REDIRECT_MAX_CACHE_TIME SERVICE_INFORMATION;
        }
        request RE_AUTH {
            one: SESSION_ID ORIGIN_HOST ORIGIN_REALM DESTINATION_REALM DESTINATION_HOST AUTH_APPLICATION_ID
                RE_AUTH_REQUEST_TYPE;
            optional: USER_NAME ORIGIN_STATE_ID CC_SUB_SESSION_ID G_S_U_POOL_IDENTIFIER SERVICE_IDENTIFIER
                RATING_GROUP;
        }
        answer RE_AUTH {
            one: SESSION_ID RESULT_CODE ORIGIN_HOST ORIGIN_REALM;
            optional: USER_NAME ORIGIN_STATE_ID ERROR_MESSAGE ERROR_REPORTING_HOST FAILED_AVP REDIRECT_HOST_USAGE
                REDIRECT_MAX_CACHE_TIME CC_SUB_SESSION_ID G_S_U_POOL_IDENTIFIER SERVICE_IDENTIFIER RATING_GROUP;
        }
        request ABORT_SESSION {
            one: SESSION_ID ORIGIN_HOST ORIGIN_REALM DESTINATION_REALM DESTINATION_HOST AUTH_APPLICATION_ID;
            optional: USER_NAME ORIGIN_STATE_ID;
        }
        answer ABORT_SESSION {
            one: SESSION_ID RESULT_CODE ORIGIN_HOST ORIGIN_REALM;
            optional: USER_NAME ORIGIN_STATE_ID ERROR_MESSAGE ERROR_REPORTING_HOST FAILED_AVP REDIRECT_HOST_USAGE
                REDIRECT_MAX_CACHE_TIME;
        }
        request SESSION_TERMINATION {
            one: SESSION_ID ORIGIN_HOST ORIGIN_REALM DESTINATION_REALM AUTH_APPLICATION_ID TERMINATION_CAUSE;
            optional: USER_NAME DESTINATION_HOST ORIGIN_STATE_ID;
        }
        answer SESSION_TERMINATION {
            one: SESSION_ID RESULT_CODE ORIGIN_HOST ORIGIN_REALM;
            optional: USER_NAME ERROR_MESSAGE ERROR_REPORTING_HOST FAILED_AVP ORIGIN_STATE_ID REDIRECT_HOST_USAGE
                REDIRECT_MAX_CACHE_TIME;
        }
    }
    groups {
        VENDOR_SPECIFIC_APPLICATION_ID {
            one: VENDOR_ID;
            optional: AUTH_APPLICATION_ID ACCT_APPLICATION_ID;
        }
        PROXY_INFO {
            one: PROXY_HOST PROXY_STATE;
        }
        EXPERIMENTAL_RESULT {
            one: VENDOR_ID EXPERIMENTAL_RESULT_CODE;
        }
        CC_MONEY {
            one: UNIT_VALUE;
            optional: CURRENCY_CODE;
        }
        COST_INFORMATION {
            one: UNIT_VALUE CURRENCY_CODE;
            optional: COST_UNIT;
        }
        FINAL_UNIT_INDICATION {
            one: FINAL_UNIT_ACTION;
            optional: REDIRECT_SERVER;
        }
        REDIRECT_SERVER {
            one: REDIRECT_ADDRESS_TYPE REDIRECT_SERVER_ADDRESS;
        }
        GRANTED_SERVICE_UNIT {
            optional: TARIFF_TIME_CHANGE CC_TIME CC_MONEY CC_TOTAL_OCTETS CC_INPUT_OCTETS CC_OUTPUT_OCTETS
                CC_SERVICE_SPECIFIC_UNITS;
        }
        REQUESTED_SERVICE_UNIT {
            optional: CC_TIME CC_MONEY CC_TOTAL_OCTETS CC_INPUT_OCTETS CC_OUTPUT_OCTETS CC_SERVICE_SPECIFIC_UNITS;
        }
        SERVICE_PARAMETER_INFO {
            one: SERVICE_PARAMETER_TYPE SERVICE_PARAMETER_VALUE;
        }
        SUBSCRIPTION_ID {
            one: SUBSCRIPTION_ID_TYPE SUBSCRIPTION_ID_DATA;
        }
        UNIT_VALUE {
            one: VALUE_DIGITS;
            optional: EXPONENT;
        }
        USED_SERVICE_UNIT {
            optional: REPORTING_REASON TARIFF_CHANGE_USAGE CC_TIME CC_MONEY CC_TOTAL_OCTETS CC_INPUT_OCTETS
                CC_OUTPUT_OCTETS CC_SERVICE_SPECIFIC_UNITS;
        }
        MULTIPLE_SERVICES_CREDIT_CONTROL {
            optional: GRANTED_SERVICE_UNIT REQUESTED_SERVICE_UNIT TARIFF_CHANGE_USAGE RATING_GROUP VALIDITY_TIME
                RESULT_CODE FINAL_UNIT_INDICATION QOS_FINAL_UNIT_INDICATION TIME_QUOTA_THRESHOLD VOLUME_QUOTA_THRESHOLD
                UNIT_QUOTA_THRESHOLD QUOTA_HOLDING_TIME QUOTA_CONSUMPTION_TIME TRIGGER PS_FURNISH_CHARGING_INFORMATION
                REFUND_INFORMATION ENVELOPE_REPORTING TIME_QUOTA_MECHANISM QOS_INFORMATION TGPP_RAT_TYPE
                RELATED_TRIGGER;
        }
        G_S_U_POOL_REFERENCE {
            one: G_S_U_POOL_IDENTIFIER CC_UNIT_TYPE UNIT_VALUE;
        }
        USER_EQUIPMENT_INFO {
            one: USER_EQUIPMENT_INFO_TYPE USER_EQUIPMENT_INFO_VALUE;
        }
        USER_EQUIPMENT_INFO_EXTENSION {
            optional: USER_EQUIPMENT_INFO_IMEISV USER_EQUIPMENT_INFO_MAC USER_EQUIPMENT_INFO_EUI64
                USER_EQUIPMENT_INFO_MODIFIEDEUI64 USER_EQUIPMENT_INFO_IMEI;
        }
        SUBSCRIPTION_ID_EXTENSION {
            optional: SUBSCRIPTION_ID_E164 SUBSCRIPTION_ID_IMSI SUBSCRIPTION_ID_SIP_URI SUBSCRIPTION_ID_NAI
                SUBSCRIPTION_ID_PRIVATE;
        }
        REDIRECT_SERVER_EXTENSION {
            optional: REDIRECT_ADDRESS_IPADDRESS REDIRECT_ADDRESS_URL REDIRECT_ADDRESS_SIP_URI;
        }
        QOS_FINAL_UNIT_INDICATION {
            one: FINAL_UNIT_ACTION;
            optional: REDIRECT_SERVER_EXTENSION;
        }
        ENVELOPE {
            one: ENVELOPE_START_TIME;
            optional: ENVELOPE_END_TIME CC_TOTAL_OCTETS CC_INPUT_OCTETS CC_OUTPUT_OCTETS CC_SERVICE_SPECIFIC_UNITS;
        }
        TIME_QUOTA_MECHANISM {
            one: TIME_QUOTA_TYPE BASE_TIME_INTERVAL;
        }
        REMAINING_BALANCE {
            one: UNIT_VALUE CURRENCY_CODE;
        }
        AF_CORRELATION_INFORMATION {
            one: AF_CHARGING_IDENTIFIER;
        }
    }
}
